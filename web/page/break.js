/**
 * "Break it", in development only: a race. The line, and beside it a WebSocket as everybody has it, to the same server, send
 * numbered messages and have them sent back, through the same fault.
 *
 *   a message each 20 ms on both ─► fault (faults.js) ─► both are back, or time is up ─► all there, once and unchanged?
 *
 * The plain one is opened again as soon as it has closed, as an application would. What was under way is then gone, as
 * WebSockets have it, and so is what is sent while it is closed. Its part of the page is shown when this script is here.
 */

import "./faults.js";
import { label, learn, say, sayPlain, words } from "./base.js";
import { BREAK_WORDS } from "./words/text-break.js";

const EACH_MS = 20;
const BEFORE_MS = 400;
const AFTER_MS = 400;
const PATIENCE_MS = 30_000;
/** The last ones are on their way back for so long at most. */
const LAST_MS = 2_000;
const DRAW_MS = 100;
const REDIAL_MS = 100;
const BYTES = 16;
const ROWS = ["sent", "back", "lost", "wrong", "time"];

const result = document.getElementById("break-result");
const buttons = document.querySelectorAll("[data-break]");
const faults = new BroadcastChannel("duologue-break");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
let isRunning = false;
let currentLink;
let table;

/** Shows the buttons; `current` tells the link. */
export function offerFaults(current) {
  currentLink = current;
  learn(BREAK_WORDS);
  table = build();
  for (const button of buttons) button.addEventListener("click", () => race(button.dataset.break, current()));
  document.getElementById("break").hidden = false;
}

/** A fault needs a line that is open. */
export function breakState(state) {
  for (const button of buttons) button.disabled = isRunning || state !== "open";
}

/** One of the two: what it has sent, and what has come back. */
class Runner {
  sent = 0;
  back = 0;
  changed = 0; // came back otherwise than it was sent
  twice = 0; // or out of order
  isOver = false;
  ms; // from the fault until a message that was sent after it had come back
  #next = 0;
  #fault = Infinity; // the first message after it
  #at;

  get isWhole() {
    return this.back === this.sent && this.changed + this.twice === 0;
  }

  /** A message: its number, and the same in the other bits, so that a change is seen. */
  write() {
    const bytes = new Uint8Array(BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, this.sent);
    view.setUint32(BYTES - 4, ~this.sent);
    this.sent += 1;
    this.give(bytes);
  }

  broken() {
    this.#fault = this.sent;
    this.#at = performance.now();
  }

  came(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const number = view.byteLength === BYTES ? view.getUint32(0) : -1;
    const isOurs = view.byteLength === BYTES && number === ~view.getInt32(BYTES - 4) >>> 0 && bytes.subarray(4, BYTES - 4).every((byte) => byte === 0);
    if (!isOurs) {
      this.changed += 1;
      return;
    }
    // One above the next has left out some, which are lost.
    if (number < this.#next) {
      this.twice += 1;
      return;
    }
    this.#next = number + 1;
    this.back += 1;
    if (number >= this.#fault) this.ms ??= performance.now() - this.#at;
  }
}

class OnLine extends Runner {
  wasLost = false;
  #channel;
  #link;
  #reading;

  constructor(link) {
    super();
    this.#link = link;
    this.#channel = link.channel("echo");
    this.#reading = this.#read().catch(() => {});
    link.addEventListener("statechange", this);
  }

  handleEvent() {
    this.wasLost ||= this.#link.state === "resuming";
  }

  get isGone() {
    return this.#link.state === "closed";
  }

  give(bytes) {
    this.#channel.send(bytes).catch(() => {}); // what does not come back is counted
  }

  async end() {
    this.#channel.finish();
    await Promise.race([this.#reading, sleep(PATIENCE_MS)]);
    this.#link.removeEventListener("statechange", this);
  }

  async #read() {
    for await (const bytes of this.#channel) this.came(bytes);
  }
}

class OnPlain extends Runner {
  isGone = false;
  #socket;

  constructor() {
    super();
    this.#dial();
  }

  #dial() {
    const url = new URL("../plain", import.meta.url);
    url.protocol = "wss:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.came(new Uint8Array(data));
    let isOpen = false;
    socket.onopen = () => (isOpen = true);
    socket.onclose = async () => {
      if (!isOpen) await sleep(REDIAL_MS); // the server cannot be reached
      if (!this.isGone && socket === this.#socket) this.#dial();
    };
  }

  /** Fulfils when it is open for the first time. */
  async opened() {
    const until = performance.now() + PATIENCE_MS;
    while (this.#socket.readyState !== WebSocket.OPEN && performance.now() < until) await sleep(EACH_MS);
  }

  give(bytes) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(bytes); // else it is lost: nothing keeps it
  }

  async end() {
    const until = performance.now() + LAST_MS;
    while (this.back + this.changed < this.sent && performance.now() < until) await sleep(EACH_MS);
    this.isGone = true;
    this.#socket.close();
  }
}

/** Does one kind of damage to both, and says what became of them. */
async function race(kind, link) {
  if (isRunning || link?.state !== "open") return;
  isRunning = true;
  breakState(link.state);
  tell("break.running", "waiting");
  const plain = new OnPlain();
  await plain.opened();
  const line = new OnLine(link);
  const runners = [line, plain];
  const drawing = setInterval(() => fill(runners), DRAW_MS);
  const ticking = setInterval(() => runners.forEach((runner) => runner.write()), EACH_MS);
  await sleep(BEFORE_MS);
  for (const runner of runners) runner.broken();
  const broke = performance.now();
  faults.postMessage(kind);
  const isAway = ({ ms, isGone }) => ms === undefined && !isGone;
  while (runners.some(isAway) && performance.now() - broke < PATIENCE_MS) await sleep(EACH_MS);
  await sleep(AFTER_MS);
  clearInterval(ticking);
  await Promise.all(
    runners.map(async (runner) => {
      await runner.end();
      runner.isOver = true;
    }),
  );
  clearInterval(drawing);
  fill(runners);
  isRunning = false;
  breakState(currentLink()?.state);
  const how = !line.isWhole || line.ms === undefined ? "failed" : line.wasLost ? "resumed" : "late";
  tell("break.result", how === "failed" ? "failed" : "done", {
    line: () => words(`break.${how}`, figures(line)),
    plain: () => words(plain.isWhole ? "break.plain-whole" : "break.plain", figures(plain)),
  });
}

function figures({ sent, back, changed, twice, ms }) {
  return { sent, back, lost: Math.max(0, sent - back - changed), wrong: changed + twice, ms: Math.round(ms ?? 0) };
}

/** The counts as they are now; what is lost is known in the end only. */
function fill(runners) {
  for (const [at, runner] of runners.entries()) {
    const { sent, back, lost, wrong, ms } = figures(runner);
    const shown = { sent, back, lost: runner.isOver ? lost : "…", wrong, time: runner.ms === undefined ? (runner.isOver ? "–" : "…") : `${ms} ms` };
    for (const row of ROWS) {
      const cell = table.cells.get(row)[at];
      sayPlain(cell, String(shown[row]));
      cell.dataset.bad = String(runner.isOver && (row === "lost" || row === "wrong") && shown[row] > 0);
    }
  }
  table.element.hidden = false;
}

/** Two columns of counts. They change many times a second: what is read aloud is the sentence below, in the end. */
function build() {
  const element = make("table");
  element.id = "break-race";
  element.className = "race";
  element.hidden = true;
  label(element, "break.race");
  const head = element.createTHead().insertRow();
  head.append(make("td"), heading("col", "break.line"), heading("col", "break.websocket"));
  const body = element.createTBody();
  const cells = new Map();
  for (const row of ROWS) {
    const line = body.insertRow();
    line.append(heading("row", `break.${row}`));
    const pair = [line.insertCell(), line.insertCell()];
    for (const [at, cell] of pair.entries()) cell.dataset.race = `${at === 0 ? "line" : "plain"}-${row}`;
    cells.set(row, pair);
  }
  result.before(element);
  return { element, cells };
}

function heading(scope, key) {
  const made = make("th", key);
  made.scope = scope;
  return made;
}

function make(name, key) {
  const made = document.createElement(name);
  if (key) say(made, key);
  return made;
}

function tell(key, status, values) {
  say(result, key, values);
  result.dataset.status = status;
}
