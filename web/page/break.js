/**
 * "Break it", in development only: a real fault beneath the line, while numbered messages go to the service `echo` and back.
 *
 *   a message each 20 ms ─► fault (breakable.js) ─► the line is lost, or slow ─► it is back ─► are all there, once and in order?
 *
 * Its part of the page is shown when this script is here.
 */

import { learn, say } from "./say.js";
import { BREAK_WORDS } from "./text-break.js";

const EACH_MS = 20;
const BEFORE_MS = 400;
const AFTER_MS = 400;
const PATIENCE_MS = 30_000;

const result = document.getElementById("break-result");
let isRunning = false;
const faults = new BroadcastChannel("duologue-break");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Shows the buttons; `current` tells the link. */
export function offerFaults(current) {
  learn(BREAK_WORDS);
  document.getElementById("break").hidden = false;
  for (const button of document.querySelectorAll("[data-break]")) {
    button.addEventListener("click", () => breakLine(button.dataset.break, current()));
  }
}

/** Does one kind of damage to an open link, and says what became of it. */
async function breakLine(kind, link) {
  if (isRunning) return;
  if (link?.state !== "open") {
    tell("break.not-open", "failed");
    return;
  }
  isRunning = true;
  tell("break.running", "waiting");
  const count = { sent: 0, back: 0, wrong: 0, lostLine: 0 };
  const channel = link.channel("echo");
  const seen = () => (count.lostLine += Number(link.state === "resuming"));
  link.addEventListener("statechange", seen);
  let mark = Infinity; // the first message after the fault
  let came; // when that one came back
  const reading = (async () => {
    for await (const bytes of channel) {
      const number = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      if (number !== count.back) count.wrong += 1;
      count.back += 1;
      if (number >= mark) came ??= performance.now();
    }
  })();
  reading.catch(() => {});
  const write = () => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, count.sent++);
    channel.send(bytes).catch(() => {}); // what does not come back is counted
  };
  const ticking = setInterval(write, EACH_MS);
  await sleep(BEFORE_MS);
  mark = count.sent;
  const broke = performance.now();
  faults.postMessage(kind);
  while (came === undefined && link.state !== "closed" && performance.now() - broke < PATIENCE_MS) await sleep(EACH_MS);
  await sleep(AFTER_MS);
  clearInterval(ticking);
  channel.finish();
  await Promise.race([reading.catch(() => {}), sleep(PATIENCE_MS)]);
  link.removeEventListener("statechange", seen);
  isRunning = false;
  const values = { sent: count.sent, back: count.back, lost: Math.max(0, count.sent - count.back), wrong: count.wrong };
  const isWhole = came !== undefined && count.back === count.sent && count.wrong === 0;
  if (!isWhole) tell("break.failed", "failed", values);
  else tell(count.lostLine > 0 ? "break.resumed" : "break.late", "done", { ...values, ms: Math.round(came - broke) });
}

function tell(key, status, values) {
  say(result, key, values);
  result.dataset.status = status;
}
