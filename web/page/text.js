/**
 * Every word of the page, English and French side by side: text-line.js and text-page.js hold them as [English, French].
 * What is loaded only when it is wanted brings words of its own (`addWords`).
 *
 * No DOM here: say.js puts these words on the page, text.test.mjs proves that none is missing.
 * `{name}` is a value, `backticks` are set as code. French spaces before : ; ? ! % and inside « » are made
 * non-breaking below, so that they can be typed as ordinary ones.
 */

import { LINE_WORDS } from "./text-line.js";
import { PAGE_WORDS } from "./text-page.js";

export const LANGUAGES = ["en", "fr"];

/** U+202F before ; ? ! % and U+00A0 before : and inside « », as French sets them. */
function typesetFrench(text) {
  return text.replace(/ ([;?!%])/g, "\u202f$1").replace(/ ([:»])/g, "\u00a0$1").replace(/« /g, "«\u00a0");
}

/** `TEXT[language][key]`. */
export const TEXT = { en: {}, fr: {} };

export function addWords(words) {
  for (const [key, [en, fr]] of Object.entries(words)) {
    TEXT.en[key] = en;
    TEXT.fr[key] = typesetFrench(fr);
  }
}

addWords(LINE_WORDS);
addWords(PAGE_WORDS);
