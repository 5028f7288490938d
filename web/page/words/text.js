/**
 * Every word of the page. text-en.js and text-fr.js hold those of its start, and only the one that its person reads is
 * loaded (`loadWords`). What is loaded when it is wanted brings words of its own, [English, French] (`addWords`).
 *
 * No DOM here: say.js puts these words on the page, text.test.mjs proves that none is missing.
 * `{name}` is a value, `backticks` are set as code. French spaces before : ; ? ! % and inside « » are made
 * non-breaking below, so that they can be typed as ordinary ones.
 */

const FILES = { en: () => import("./text-en.js"), fr: () => import("./text-fr.js") };

export const LANGUAGES = Object.keys(FILES);

/** U+202F before ; ? ! % and U+00A0 before : and inside « », as French sets them. */
function typesetFrench(text) {
  return text.replace(/ ([;?!%])/g, "\u202f$1").replace(/ ([:»])/g, "\u00a0$1").replace(/« /g, "«\u00a0");
}

/** `TEXT[language][key]`. */
export const TEXT = { en: {}, fr: {} };

function add(language, key, text) {
  TEXT[language][key] = language === "fr" ? typesetFrench(text) : text;
}

export function addWords(words) {
  for (const [key, [en, fr]] of Object.entries(words)) {
    add("en", key, en);
    add("fr", key, fr);
  }
}

/** Rejects if they cannot be fetched. */
export async function loadWords(language) {
  const { WORDS } = await FILES[language]();
  for (const [key, text] of Object.entries(WORDS)) add(language, key, text);
}
