/**
 * The `desk` conversation: text messages, UTF-8 both ways, with the person at the server's terminal.
 *
 *   waiting (for the line) ◄─► sent (given to an open line) ─► taken (read at the desk)
 *      └────────────┴─► failed: not sent, or nobody knows; it stays here, and one button sends it again
 *
 * The channel is opened when the line is open, again when the server has begun a new session, and by the next message
 * after it has ended.
 */

import { explain } from "./cause.js";
import { say, sayPlain } from "./say.js";
import { wrote } from "./sealed.js";

const SHOWN_CHARS = 20_000; // of one message; the peer may send up to 16 MiB
const KEPT_MESSAGES = 300;

const DRAFT = "duologue-draft";

const log = document.getElementById("desk-log");
const form = document.getElementById("desk-form");
const input = document.getElementById("desk-input");
const note = document.getElementById("desk-note");
let link;
let desk;
let underWay = "waiting"; // of a message: what it is while the line is as it is now

/** The line is open: opens the conversation on it. */
export function openDesk(openLink) {
  link = openLink;
  openChannel();
}

/** The line has ended. The draft stays. */
export function closeDesk() {
  link = undefined;
  desk = undefined;
  note.hidden = true;
}

/** The line is open again, in a new session: the conversation of the old one has ended, and begins anew. */
export function renewDesk(why) {
  openChannel();
  if (desk) tell("desk.fresh", { why: () => explain(why) });
}

/** Messages that were not taken yet are with the open line, or wait for it. */
export function deskState(state) {
  underWay = state === "open" || state === "draining" ? "sent" : "waiting";
  for (const message of log.querySelectorAll('[data-status="waiting"], [data-status="sent"]')) mark(message, underWay);
}

function openChannel() {
  note.hidden = true;
  try {
    desk = link.channel("desk");
    listen(desk);
  } catch (error) {
    ended(error);
  }
}

async function listen(channel) {
  const decoder = new TextDecoder();
  try {
    for await (const bytes of channel) addMessage("them", decoder.decode(bytes));
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
  else if (!desk) openChannel();
  return Boolean(link && desk);
}

function write(text) {
  if (!isReady()) return;
  setDraft("");
  deliver(addMessage("you", text), text);
}

async function deliver(message, text) {
  note.hidden = true;
  mark(message, underWay);
  const bytes = new TextEncoder().encode(text);
  try {
    wrote("desk", bytes, text);
    await desk.send(bytes);
    mark(message, "taken");
  } catch (error) {
    if (error?.delivery === "not sent") mark(message, "failed", "desk.not-sent");
    else if (error?.delivery === "unknown") mark(message, "failed", "desk.unknown");
    else mark(message, "failed", "desk.failed", { why: () => explain(error) });
    offerAgain(message, text);
  }
}

/** This device is forgotten, and with it what was typed and not sent. */
export const forgetDraft = () => setDraft("");

/** What is typed outlives a reload, in this tab alone. */
function setDraft(text) {
  input.value = text;
  keepDraft();
}

function keepDraft() {
  try {
    sessionStorage.setItem(DRAFT, input.value);
  } catch {
    // Where nothing can be kept, it lasts as long as the page.
  }
}

/** Not sent again by itself: of what is `unknown`, only the person can say whether twice is better than never. */
function offerAgain(message, text) {
  const again = document.createElement("button");
  again.type = "button";
  again.className = "quiet";
  say(again, "desk.again");
  again.addEventListener("click", () => {
    if (!isReady()) return;
    again.remove();
    log.append(message); // it is the newest now
    log.scrollTop = log.scrollHeight;
    input.focus();
    deliver(message, text);
  });
  message.append(again);
}

function mark(message, status, key = `desk.${status}`, values) {
  message.dataset.status = status;
  say(message.querySelector(".mark-text"), key, values);
}

function addMessage(who, text) {
  const message = document.createElement("div");
  message.className = `message ${who}`;
  const body = document.createElement("p");
  body.className = "message-body";
  body.dir = "auto";
  body.textContent = text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text;
  const meta = document.createElement("p");
  meta.className = "message-meta";
  const name = document.createElement("b");
  say(name, `desk.${who}`);
  const time = document.createElement("time");
  sayPlain(time, new Date().toTimeString().slice(0, 5));
  meta.append(name, time);
  if (who === "you") {
    const status = document.createElement("span");
    status.className = "mark-text";
    meta.append(status);
  }
  message.append(body, meta);
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  log.append(message);
  while (log.childElementCount > KEPT_MESSAGES) log.firstElementChild.remove();
  if (atEnd || who === "you") log.scrollTop = log.scrollHeight;
  return message;
}

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
// Disabled in the page until now: a submit without this script would be a navigation, and stop the page from loading.
document.getElementById("desk-send").disabled = false;
