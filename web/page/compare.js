/**
 * "Compare aloud": the fingerprints of server and device as eight words each, and the button that remembers the comparison.
 * Loaded when it is opened, with the word list of the person's language.
 *
 *   128 bits of a fingerprint ─► the first 88 ─► eight numbers of 11 bits ─► eight of the 2,048 words of BIP-39
 *
 * `duologue keys show` and `devices list --words` print the same words (server/src/state/words.rs).
 */

import { addWords, locale, onLanguage, say, sayPlain, setCompared } from "./base.js";
import { COMPARE_WORDS } from "./words/text-compare.js";

const WORDS = 8;
const BITS = 11;
const lists = new Map(); // by language

addWords(COMPARE_WORDS);

const panel = document.getElementById("compare-panel");
let shown; // the link whose keys are compared
let whenCompared;
let parts;

/** Shows the words of a link's keys; `changed` is called when the person has compared them, or takes that back. */
export function open(link, changed) {
  shown = link;
  whenCompared = changed;
  parts ??= build();
  panel.hidden = false;
  fill();
}

export function spoken(fingerprint, list) {
  const bits = BigInt(`0x${fingerprint.replaceAll(" ", "")}`) >> BigInt(128 - WORDS * BITS);
  return Array.from({ length: WORDS }, (_, at) => list[Number((bits >> BigInt((WORDS - 1 - at) * BITS)) & 2_047n)]);
}

function listOf(language) {
  if (!lists.has(language)) {
    const list = fetch(`/page/words-${language}.txt`).then(async (answer) => {
      const words = (await answer.text()).trim().split("\n");
      if (!answer.ok || words.length !== 2_048) throw new Error(answer.statusText);
      return words;
    });
    list.catch(() => lists.delete(language)); // perhaps another time
    lists.set(language, list);
  }
  return lists.get(language);
}

async function fill() {
  const { server, device } = shown;
  const language = locale();
  parts.failure.hidden = true;
  let list;
  try {
    list = await listOf(language);
  } catch {
    parts.failure.hidden = false;
    return;
  }
  if (language !== locale()) return; // it was changed meanwhile, and that has filled it again
  for (const [element, key] of [[parts.server, server], [parts.device, device]]) {
    element.replaceChildren(
      ...spoken(key.fingerprint, list).map((word) => {
        const item = make("li");
        sayPlain(item, word);
        return item;
      }),
    );
  }
}

function build() {
  const built = { server: make("ol"), device: make("ol"), failure: make("p", "compare.no-list"), yes: make("button", "compare.yes") };
  built.server.id = "server-words";
  built.device.id = "device-words";
  for (const list of [built.server, built.device]) {
    list.className = "spoken";
    list.setAttribute("role", "list");
  }
  built.failure.className = "note";
  built.failure.hidden = true;
  built.yes.type = "button";
  built.yes.id = "compare-yes";
  built.yes.addEventListener("click", () => whenCompared(setCompared(shown.server)));
  const hints = ["compare.intro", "compare.device-hint"].map((key) => make("p", key));
  for (const hint of hints) hint.className = "hint";
  const titles = ["who.server", "who.device"].map((key) => make("h3", key));
  panel.append(hints[0], titles[0], built.server, titles[1], built.device, hints[1], built.failure, built.yes);
  onLanguage(() => panel.hidden || fill());
  return built;
}

function make(name, key) {
  const made = document.createElement(name);
  if (key) say(made, key);
  return made;
}
