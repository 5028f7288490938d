/**
 * "The letter and the envelope": the plaintext that was handed to the line beside the records that crossed the network.
 * Loaded when it is opened; ledger.js decides what comes here.
 *
 * One timeline in two lists. It is cut at each writing: a turn is one writing and, beside it in order, the records
 * that crossed from then until the next writing. The newest turn is on top. The page cannot know which record
 * carries which message, and does not say so. Only real bytes are shown: what `observe` gave, what `send` was given.
 */

import { learn, say, sayPlain, SHOWN_BYTES } from "./base.js";
import { SEALED_WORDS } from "./words/text-sealed.js";

const KEPT = 5; // writings, records out, records in
const ROW_BYTES = 16;
/** A burst of records is drawn once: a large file would otherwise spend more on its picture than on its way. */
const DRAW_MILLIS = 250;
/** The same while more crosses than is shown. Out of view, a burst is drawn when it is over: layout leaves much garbage. */
const BURST_DRAW_MILLIS = 1_000;
/** In this tab: the person wants it closed. */
const CLOSED = "duologue-ledger";

const seal = document.getElementById("seal");
const wroteList = document.getElementById("wrote");
const seesList = document.getElementById("proxy-sees");
const entries = [];
let turn = 0;
let kept = 0; // since the last drawing
let wait = DRAW_MILLIS;
let timer; // of the next drawing, if one is due
let inView = true;
let wasOpened = false; // by a message

learn(SEALED_WORDS);

/** There is a message: opens it, once, unless the person has closed it in this tab. */
export function openOnce() {
  if (wasOpened) return;
  wasOpened = true;
  if (!isClosedByHand()) seal.open = true;
}

function isClosedByHand() {
  try {
    return sessionStorage.getItem(CLOSED) !== null;
  } catch {
    return false; // where nothing can be kept, nothing was
  }
}

/** Of `length` bytes that were written (`where`, and as `text` if it is some) or that crossed, the first ones. */
export function keep(kind, bytes, at, length, isPulse, where, text) {
  if (kind === "wrote") turn += 1;
  // The oldest one's place, once there are enough: of many records nothing is left to clear away.
  const entry = (isPulse ? oldestPulse(kind) : undefined) ?? oldest(kind) ?? { kind, room: new Uint8Array(SHOWN_BYTES) };
  const shown = bytes.length > SHOWN_BYTES ? bytes.subarray(0, SHOWN_BYTES) : bytes;
  // A copy: the caller's view may be of memory that is about to be used again.
  entry.room.set(shown);
  entry.bytes = shown.length;
  entry.length = length;
  entry.at = at;
  entry.turn = turn;
  entry.where = where;
  entry.text = text;
  entry.isPulse = isPulse;
  entry.item = undefined;
  entries.push(entry);
  kept += 1;
  if (seal.open) timer ??= setTimeout(draw, wait);
}

function oldestPulse(kind) {
  const first = entries.findIndex((entry) => entry.kind === kind && entry.isPulse);
  return first < 0 ? undefined : entries.splice(first, 1)[0];
}

/** Takes out the oldest entry of a kind of which there are enough. */
function oldest(kind) {
  let count = 0;
  let first = -1;
  for (let at = 0; at < entries.length; at += 1) {
    if (entries[at].kind !== kind) continue;
    count += 1;
    if (first < 0) first = at;
  }
  return count < KEPT ? undefined : entries.splice(first, 1)[0];
}

function draw() {
  timer = undefined;
  if (!seal.open) return;
  const isBurst = kept > 2 * KEPT;
  wait = isBurst ? BURST_DRAW_MILLIS : DRAW_MILLIS;
  kept = 0;
  if (isBurst && !inView) {
    timer = setTimeout(draw, wait);
    return;
  }
  const writings = [];
  const records = [];
  let row = 2; // below the headings
  const turns = [...new Set(entries.map((entry) => entry.turn))].sort((a, b) => b - a);
  for (const current of turns) {
    const start = row;
    const inTurn = entries.filter((entry) => entry.turn === current);
    for (const entry of inTurn.filter((one) => one.kind !== "wrote")) {
      records.push(place(entry, row, 1));
      row += 1;
    }
    row = Math.max(row, start + 1);
    const writing = inTurn.find((one) => one.kind === "wrote");
    if (writing) writings.push(place(writing, start, row - start));
  }
  fill(wroteList, writings, "seal.wrote-none");
  fill(seesList, records, "seal.sees-none");
}

/** The style sheet turns the numbers into grid rows where the lists stand side by side. */
function place(entry, row, rows) {
  entry.item ??= build(entry);
  entry.item.style.setProperty("--row", String(row));
  entry.item.style.setProperty("--rows", String(rows));
  return entry.item;
}

function fill(list, items, none) {
  if (items.length > 0) {
    list.replaceChildren(...items);
    return;
  }
  const empty = element("li", "empty");
  say(empty, none);
  list.replaceChildren(empty);
}

function build(entry) {
  const item = element("li", `entry ${entry.kind}`);
  const head = element("p", "entry-head");
  const what = element("b");
  say(what, entry.kind === "wrote" ? `seal.${entry.where}` : `seal.${entry.kind}`);
  const size = element("span");
  if (entry.length > SHOWN_BYTES) say(size, "seal.first", { count: entry.length, shown: SHOWN_BYTES });
  else if (entry.length === 1) say(size, "seal.byte");
  else say(size, "seal.bytes", { count: entry.length });
  const time = element("time");
  sayPlain(time, clock(new Date(entry.at)));
  head.append(what, size, time);
  item.append(head);
  if (entry.text !== undefined) {
    const text = element("p", "entry-text");
    text.dir = "auto";
    sayPlain(text, entry.text.slice(0, 2 * SHOWN_BYTES));
    item.append(text);
  }
  item.append(hexDump(entry.room.subarray(0, entry.bytes)));
  return item;
}

/**
 * 16 bytes a row in groups of two. Offsets and ASCII are drawn by the style sheet: they are not bytes of the record. One
 * element for all rows: an element for each took most of what the page's memory grew by while a large file was sent.
 */
function hexDump(bytes) {
  const rows = [];
  for (let start = 0; start < bytes.length; start += ROW_BYTES) rows.push([start, Array.from(bytes.subarray(start, start + ROW_BYTES))]);
  const dump = element("pre", "dump");
  const lines = (write) => rows.map(write).join("\n");
  dump.dataset.offsets = lines(([start]) => start.toString(16).padStart(4, "0"));
  dump.dataset.ascii = lines(([, row]) => row.map((byte) => (byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join(""));
  dump.textContent = lines(([, row]) => row.map((byte, at) => (at > 0 && at % 2 === 0 ? " " : "") + byte.toString(16).padStart(2, "0")).join(""));
  return dump;
}

function clock(date) {
  const pad = (value, width = 2) => String(value).padStart(width, "0");
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

function element(name, className) {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}

new IntersectionObserver((changes) => {
  inView = changes.at(-1).isIntersecting;
  if (!inView || timer === undefined) return;
  clearTimeout(timer);
  draw();
}).observe(document.querySelector(".ledger"));
seal.addEventListener("toggle", () => {
  try {
    if (seal.open) sessionStorage.removeItem(CLOSED);
    else sessionStorage.setItem(CLOSED, "");
  } catch {
    // Then it is closed until the next load.
  }
  draw();
});
draw();
