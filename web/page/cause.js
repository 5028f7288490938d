/**
 * Why a line ended, in words: one sentence for the cause, one for what to do, and for a changed server key both
 * fingerprints. The code is mirrored in `document.documentElement.dataset.code`.
 *
 * The words of rare causes are fetched with the first of them; if they do not come soon, the library's own sentence stands
 * there.
 */

import { has, learn, say, sayPlain, words } from "./words/say.js";

const REASON_CHARS = 500; // a peer's own words, shown as text only
const LOUD = new Set(["pin-changed", "altered", "not-your-server"]);
const CALM = new Set(["normal", "going-away", "replaced", "forgotten", "offline"]);

const root = document.documentElement;
const box = document.getElementById("ending");
const what = document.getElementById("cause-what");
const remedy = document.getElementById("cause-do");
const shownCode = document.getElementById("cause-code");
const pin = document.getElementById("pin");
/** Hosts whose certificates are mostly made by hand. */
const NEAR = /^(localhost|\[.*|[\d.]+)$|\.(local|localhost)$/;
const PATIENCE_MS = 1_000;
let fetching; // the words of rare causes
let shown; // how the line ended

/** The sentence of an error in the person's language, else, and until its words are here, its own English one. */
export function explain(error) {
  const code = error?.code;
  const key = [`reset.${code}`, `fresh.${code}`, `cause.${code}`].find(has);
  if (key) return words(key);
  fetchWords();
  return String(error?.message || error?.reason || error).slice(0, REASON_CHARS);
}

function fetchWords() {
  fetching ??= import("./words/text-cause.js").then(
    ({ CAUSE_WORDS }) => {
      learn(CAUSE_WORDS);
      if (shown) showCause(shown);
    },
    () => (fetching = undefined),
  );
  return fetching;
}

/** Fulfils when there are words for a cause, or a rare state, or it is no use to wait for them. */
export async function causeWords(code) {
  if (has(`cause.${code}`) || has(`state.${code}`)) return;
  await Promise.race([fetchWords(), new Promise((late) => setTimeout(late, PATIENCE_MS))]);
}

/** Shows how a line ended. */
export function showCause(info) {
  shown = info;
  root.dataset.code = info.code;
  box.dataset.tone = LOUD.has(info.code) ? "loud" : CALM.has(info.code) ? "calm" : "plain";
  box.hidden = false;
  sayPlain(shownCode, info.code);
  if (has(`cause.${info.code}`)) {
    what.removeAttribute("lang");
    say(what, `cause.${info.code}`);
    say(remedy, remedyOf(info.code), { origin: location.origin, reason: info.reason });
  } else {
    what.lang = "en";
    sayPlain(what, explain(info));
    say(remedy, "do.unknown");
  }
}

/** Near, it is mostly the certificate; what helps then is a rare word. */
function remedyOf(code) {
  if (code !== "unreachable" || !NEAR.test(location.hostname)) return `do.${code}`;
  const near = `do.${code}-near`;
  if (has(near)) return near;
  fetchWords();
  return "do.unreachable";
}

export function hideCause() {
  shown = undefined;
  delete root.dataset.code;
  box.hidden = true;
  pin.hidden = true;
  sayPlain(what, "");
  sayPlain(remedy, "");
}
