/**
 * "What happens here": for whom the server lets see it. Loaded when such a server has opened the line; what shows it is loaded when
 * somebody opens it (sight.js).
 */

import { explain, learn, say } from "./base.js";
import { OWNER_WORDS } from "./words/text-owner.js";

learn(OWNER_WORDS);

const section = document.getElementById("owner");
const details = document.getElementById("owner-open");
const result = document.getElementById("owner-result");

/** `currentLink` answers the link that is in use now, if it is open. */
export function startOwner(currentLink) {
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    try {
      const { look } = await import("./sight.js");
      look(currentLink);
    } catch (error) {
      say(result, "owner.failed", { why: () => explain(error) });
    }
  });
}

/** Whether the server lets this device see it. */
export function served(is) {
  section.hidden = !is;
}
