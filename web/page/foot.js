/**
 * The foot of the page: what the line does and what it does not. Loaded when the line is open, or has ended: it must not
 * take the line's place on the way.
 */

import { learn } from "./base.js";
import { showWay } from "./way.js";
import { FOOT_WORDS } from "./words/text-foot.js";

learn(FOOT_WORDS);
document.getElementById("foot").hidden = false;

/** The line is open. What cannot be told of its way is not told. */
export const tellWay = (link, isCurrent) => showWay(link, isCurrent).catch(() => {});
