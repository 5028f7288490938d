/**
 * The `desk` conversation: text messages, UTF-8 both ways, with the person at the server's terminal. Loaded when a server
 * that has a desk has opened the line, or when an earlier page of this tab has left something here.
 *
 *   waiting (for the line) ◄─► sent (given to an open line) ─► taken (shown at the desk)
 *      └────────────┴─► failed: not sent, or nobody knows; it stays here, and one button sends it again
 *
 * The channel is opened when the line is open, again when the server has begun a new session, and by the next message
 * after it has ended. Each message stands alone: those that had not left when a session ended leave by themselves in the
 * next one. What was said is kept for the next page of this tab (conversation.js).
 */

import { explain, learn, openLedger, say, sayPlain, wrote } from "./base.js";
import { DESK_WORDS } from "./words/text-desk.js";

const SHOWN_CHARS = 20_000; // of one message; the peer may send up to 16 MiB
const KEPT_MESSAGES = 300;

const DRAFT = "duologue-draft";

learn(DESK_WORDS);

const section = document.getElementById("desk");
const log = document.getElementById("desk-log");
const form = document.getElementById("desk-form");
const input = document.getElementById("desk-input");
const send = document.getElementById("desk-send");
const note = document.getElementById("desk-note");
const shown = new Map(); // message ─► its element, in their order
let link;
let desk;
let underWay = "waiting"; // of a message: what it is while the line is as it is now
let isServed = true; // as far as the server has told
let conversation; // the module that keeps it, once it is there
let follows = true; // the newest message is in view
let owner; // the two keys that it belongs to, once they are known

/** The line is open: opens the conversation on it. */
export function openDesk(openLink) {
  if (link === openLink) return;
  link = openLink;
  if (isServed) openChannel();
  deskState(link.state);
}

/** The line has ended. The draft stays. */
export function closeDesk() {
  link = undefined;
  desk = undefined;
  note.hidden = true;
  send.disabled = true;
}

/** The line is open again, in a new session. What had not left goes on in it; else the conversation begins anew. */
export function renewDesk(why) {
  // Later: the old one's end is heard in a moment.
  setTimeout(() => {
    if (!link || !isServed) return;
    if (!desk) openChannel();
    if (desk) tell("desk.fresh", { why: () => explain(why) });
  });
}

/** Messages that were not taken yet are with the open line, or wait for it. */
export function deskState(state) {
  underWay = state === "open" || state === "draining" ? "sent" : "waiting";
  for (const message of shown.keys()) {
    if (message.status === "waiting" || message.status === "sent") mark(message, underWay);
  }
  send.disabled = !link || state === "closed";
}

/** Whether the server has somebody at the desk: nothing is offered that it refuses. What was said stays. */
export function served(is) {
  isServed = is;
  form.hidden = !is;
  section.hidden = !is && shown.size === 0;
  if (!is) tell("desk.refused");
  else if (link && !desk) openChannel();
}

function openChannel() {
  note.hidden = true;
  try {
    desk = link.channel("desk", { resend: "independent" });
    listen(desk);
  } catch (error) {
    ended(error);
  }
}

async function listen(channel) {
  const decoder = new TextDecoder();
  try {
    for await (const bytes of channel) {
      addMessage({ who: "them", text: shortened(decoder.decode(bytes)), at: Date.now() });
      openLedger();
    }
    if (channel === desk) ended();
  } catch (error) {
    if (channel === desk) ended(error);
  }
}

function ended(error) {
  desk = undefined;
  if (!link || link.state === "closed") return; // then the state of the line says it
  if (error?.code === "refused") tell("desk.refused");
  else if (error) tell("desk.broken", { why: () => explain(error) });
  else tell("desk.ended");
}

function tell(key, values) {
  say(note, key, values);
  note.hidden = false;
}

/** Whether a message can be given to the desk; if not, says why. */
function isReady() {
  if (!link) tell(document.documentElement.dataset.state === "closed" ? "desk.closed" : "desk.not-open");
  else if (!isServed) tell("desk.refused");
  else if (!desk) openChannel();
  return Boolean(link && desk);
}

function write(text) {
  if (!isReady()) return;
  setDraft("");
  const message = { who: "you", text, at: Date.now() };
  addMessage(message);
  deliver(message);
}

async function deliver(message) {
  note.hidden = true;
  mark(message, underWay);
  const bytes = new TextEncoder().encode(message.text);
  try {
    wrote("desk", bytes, message.text);
    await desk.send(bytes);
    mark(message, "taken");
  } catch (error) {
    if (error?.delivery === "not sent") mark(message, "failed", "desk.not-sent");
    else if (error?.delivery === "unknown") mark(message, "failed", "desk.unknown");
    else mark(message, "failed", "desk.failed", () => explain(error));
    offerAgain(message);
  }
}

/** This device is forgotten, and with it what was typed and not sent. */
export const forgetDraft = () => setDraft("");

/** And what was said. */
export async function forgetConversation() {
  for (const element of shown.values()) element.remove();
  shown.clear();
  if (conversation || hasKept()) (await load())?.forget();
}

/** The keys of a link's two ends, once they are known: what was said between two others is not theirs. */
export function ownConversation({ server, device }) {
  const keys = `${server.key} ${device.key}`;
  if (owner !== undefined && owner !== keys) forgetConversation();
  owner = keys;
}

function hasKept() {
  try {
    return sessionStorage.getItem("duologue-conversation") !== null;
  } catch {
    return false;
  }
}

/** Undefined if it cannot be had: then what is said lasts as long as the page. */
async function load() {
  conversation ??= await import("./conversation.js").catch(() => {});
  return conversation;
}

async function keep() {
  const module = conversation ?? (await load());
  if (owner !== undefined && shown.size > 0) module?.keep(owner, Array.from(shown.keys(), written));
}

const written = ({ why, ...message }) => ({ ...message, why: why?.() });

/** Shows what an earlier page of this tab has left, before anything that was said since. */
async function restore() {
  const left = (await load())?.kept();
  if (!left) return;
  if (owner !== undefined && owner !== left.owner) {
    conversation.forget();
    return;
  }
  owner ??= left.owner;
  log.setAttribute("aria-live", "off"); // it was read before
  const since = [...shown];
  shown.clear();
  log.replaceChildren();
  for (const { status, key, why, ...message } of left.messages) {
    addMessage(message);
    if (message.who === "them") continue;
    mark(message, status, key, why === undefined ? undefined : () => why);
    if (status === "failed") offerAgain(message);
  }
  for (const [message, element] of since) put(message, element);
  toEnd();
  log.removeAttribute("aria-live");
  if (!isServed) served(false);
}

/** What is typed outlives a reload, in this tab alone. */
function setDraft(text) {
  input.value = text;
  keepDraft();
}

function keepDraft() {
  try {
    if (input.value === "") sessionStorage.removeItem(DRAFT);
    else sessionStorage.setItem(DRAFT, input.value);
  } catch {
    // Where nothing can be kept, it lasts as long as the page.
  }
}

/** Not sent again by itself: of what is `unknown`, only the person can say whether twice is better than never. */
function offerAgain(message) {
  const element = shown.get(message);
  if (!element) return; // too many came after it, or all was forgotten
  const again = document.createElement("button");
  again.type = "button";
  again.className = "quiet";
  say(again, "desk.again");
  again.addEventListener("click", () => {
    if (!isReady()) return;
    again.remove();
    shown.delete(message);
    put(message, element); // it is the newest now
    input.focus();
    deliver(message);
  });
  element.append(again);
}

function mark(message, status, key = `desk.${status}`, why) {
  Object.assign(message, { status, key, why });
  const element = shown.get(message);
  if (!element) return;
  element.dataset.status = status;
  say(element.querySelector(".mark-text"), key, why && { why });
  keep();
}

const shortened = (text) => (text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text);

function addMessage(message) {
  const element = document.createElement("div");
  element.className = `message ${message.who}`;
  const body = document.createElement("p");
  body.className = "message-body";
  body.dir = "auto";
  body.textContent = message.text;
  const meta = document.createElement("p");
  meta.className = "message-meta";
  const name = document.createElement("b");
  say(name, `desk.${message.who}`);
  const time = document.createElement("time");
  sayPlain(time, new Date(message.at).toTimeString().slice(0, 5));
  meta.append(name, time);
  if (message.who === "you") {
    const status = document.createElement("span");
    status.className = "mark-text";
    meta.append(status);
  }
  element.append(body, meta);
  put(message, element);
  keep();
}

/** As the newest. */
function put(message, element) {
  shown.set(message, element);
  log.append(element);
  if (shown.size > KEPT_MESSAGES) {
    const [oldest, itsElement] = shown.entries().next().value;
    shown.delete(oldest);
    itsElement.remove();
  }
  if (follows || message.who === "you") toEnd();
}

const toEnd = () => (log.scrollTop = log.scrollHeight);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (input.value.trim() !== "") write(input.value);
});
input.addEventListener("input", keepDraft);
try {
  input.value ||= sessionStorage.getItem(DRAFT) ?? "";
} catch {
  // As above.
}
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
if (hasKept()) restore();
// Its height changes with the screen, a phone's with its keyboard: the newest message stays where it is read.
log.addEventListener("scroll", () => (follows = log.scrollHeight - log.scrollTop - log.clientHeight < 60));
new ResizeObserver(() => follows && toEnd()).observe(log);
