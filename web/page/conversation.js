/**
 * What was said at the desk outlives a reload, in this tab alone. Loaded by desk.js with the first message, or when an
 * earlier page of this tab has left some.
 *
 *   messages ─► sessionStorage, as much as is bounded below ─► the next page of this tab, if it has the same two keys
 *
 * A message whose fate was open when its page was left is told so: nobody knows any more.
 */

const NAME = "duologue-conversation";
const MESSAGES_MAX = 100;
const CHARS_MAX = 200_000; // of their text in all; browsers give a site 5 MB or more
const SOON_MS = 200;

const STATUS = new Set(["taken", "failed"]);
let timer; // of the next writing, if one is due
let due;

/** What the earlier page has left: `{ owner, messages }`, oldest first. Undefined if nothing is there, or nothing of ours. */
export function kept() {
  try {
    const { owner, messages } = JSON.parse(sessionStorage.getItem(NAME));
    const isOne = ({ who, text, at }) => (who === "you" || who === "them") && typeof text === "string" && Number.isFinite(at);
    return { owner, messages: messages.filter(isOne).slice(-MESSAGES_MAX).map(settled) };
  } catch {
    return undefined;
  }
}

function settled({ who, text, at, status, key, why }) {
  if (who === "them") return { who, text, at };
  if (!STATUS.has(status)) return { who, text, at, status: "failed", key: "desk.unknown" };
  return { who, text, at, status, key: String(key), why: why === undefined ? undefined : String(why) };
}

/** Writes down what was said between two keys, soon; and at the latest when the page goes. */
export function keep(owner, messages) {
  due = { owner, messages };
  timer ??= setTimeout(write, SOON_MS);
}

function write() {
  clearTimeout(timer);
  timer = undefined;
  if (!due) return;
  const { owner, messages } = due;
  due = undefined;
  const last = [];
  let chars = 0;
  for (const message of messages.slice(-MESSAGES_MAX).reverse()) {
    chars += message.text.length;
    if (chars > CHARS_MAX) break;
    last.unshift(message);
  }
  try {
    sessionStorage.setItem(NAME, JSON.stringify({ owner, messages: last }));
  } catch {
    // Where nothing can be kept, or no more, it lasts as long as the page.
  }
}

export function forget() {
  due = undefined;
  try {
    sessionStorage.removeItem(NAME);
  } catch {
    // Where nothing can be kept, nothing was.
  }
}

addEventListener("pagehide", write);
