/**
 * Files on their way: what attach.js was given goes to the server one after the other. Loaded with the first of them.
 *
 *   waiting ─► sending (checking, held while there is no line, storing) ─► done, failed or cancelled ─► waiting, if sent again
 *
 * What is shown as sent is what the server's service has taken. For the eye words change four times a second; for the ear
 * only when a file's fate does.
 */

import { duration, percent, size } from "./amounts.js";
import { explain } from "./cause.js";
import { label, say, sayPlain } from "./say.js";
import { addWords } from "./text.js";
import { FILES_WORDS } from "./text-files.js";
import { DropError, Upload } from "./upload.js";

addWords(FILES_WORDS);

const KEPT_FILES = 200;
const DRAW_MS = 250;
/** The speed is that of the last seconds; before the first of them there is none. */
const SPEED_MS = 5_000;
const SPEED_MIN_MS = 1_000;
const UNDER_WAY = new Set(["waiting", "sending"]);
const TOLD = new Set(["sending", "held", "done", "failed", "cancelled"]);
const TOLD_MAX = 5;
/** What has words of its own under `drop.`. */
const DROP_CODES = new Set([
  "bad-header",
  "bad-name",
  "too-large",
  "busy",
  "size-mismatch",
  "disk",
  "bad-answer",
  "unreadable",
]);

const list = document.getElementById("files-list");
const note = document.getElementById("files-note");
const said = document.getElementById("files-said");
const jobs = [];
let link;
let current;
let lineIsOpen = false;

/** The line is open for the first time: what waits is sent. */
export function openFiles(openLink) {
  link = openLink;
  sendNext();
}

/** The line has ended. What was not finished waits for another, and goes on there. */
export function closeFiles() {
  link = undefined;
}

export function filesState(state) {
  lineIsOpen = state === "open" || state === "draining";
  for (const job of jobs) if (UNDER_WAY.has(job.status)) draw(job);
}

async function sendNext() {
  const job = jobs.find(({ status }) => status === "waiting");
  if (current || !job || !link || link.state === "closed") return;
  current = job;
  const used = link;
  job.samples = [];
  become(job, "sending");
  const timer = setInterval(() => draw(job), DRAW_MS);
  try {
    job.stored = await job.upload.run(used);
    become(job, "done");
  } catch (error) {
    job.error = error;
    if (job.upload.cancelled) become(job, "cancelled");
    else become(job, used.state === "closed" ? "waiting" : "failed");
  }
  clearInterval(timer);
  current = undefined;
  sendNext();
}

/** Takes what the person has given. */
export function addFiles(files) {
  note.hidden = true;
  for (const file of files) {
    while (jobs.length >= KEPT_FILES && forgetOne());
    if (jobs.length >= KEPT_FILES) {
      say(note, "files.many", { count: KEPT_FILES });
      note.hidden = false;
      break;
    }
    const job = { file, upload: new Upload(file), status: "waiting" };
    build(job);
    jobs.push(job);
    list.append(job.item);
    draw(job);
  }
  list.hidden = jobs.length === 0;
  sendNext();
}

/** Drops the oldest file that is done with. */
function forgetOne() {
  const at = jobs.findIndex(({ status }) => !UNDER_WAY.has(status));
  if (at < 0) return false;
  const [job] = jobs.splice(at, 1);
  job.item.remove();
  return true;
}

function cancel(job) {
  if (job === current) job.upload.cancel();
  else become(job, "cancelled");
}

function sendAgain(job) {
  job.upload.sent = 0; // until the server tells what it has kept
  become(job, "waiting");
  sendNext();
}

function become(job, status) {
  job.status = status;
  draw(job);
}

/** What is told of a file now. */
function shown({ status, file, upload }) {
  if (status === "waiting") return lineIsOpen ? "waiting" : "held";
  if (status !== "sending") return status;
  if (!lineIsOpen) return "held";
  if (upload.checking) return "checking";
  return upload.sent === file.size && file.size > 0 ? "storing" : "sending";
}

function draw(job) {
  const { file, upload, item, bar, words, hash, stop, again } = job;
  const status = shown(job);
  bar.value = status === "done" ? bar.max : upload.sent;
  const values = { size: () => size(file.size), percent: percent(upload.sent, file.size) };
  const [key, more] = sentence(job, status);
  say(words, key, { ...values, ...more });
  if (item.dataset.status !== status) {
    item.dataset.status = status;
    tell(job, status);
    // A button that vanishes must not take the focus with it.
    const focused = item.contains(document.activeElement);
    stop.hidden = !UNDER_WAY.has(job.status);
    again.hidden = job.status !== "failed" && job.status !== "cancelled";
    bar.hidden = job.status === "failed" || job.status === "cancelled";
    hash.hidden = job.status !== "done";
    if (status === "done") sayPlain(hash.querySelector("dd"), job.stored.sha256);
    if (focused && !item.contains(document.activeElement)) ([again, stop].find(({ hidden }) => !hidden) ?? item).focus();
  }
}

/** Says aloud what has become of a file; not that one in the queue waits. */
function tell(job, status) {
  if (!TOLD.has(status) || job.status === "waiting" || job.told === status) return;
  job.told = status;
  const line = element("p");
  say(line, `said.${status}`, { name: job.file.name });
  said.append(line);
  while (said.childElementCount > TOLD_MAX) said.firstElementChild.remove();
}

function sentence(job, status) {
  if (status === "done") return ["files.done", { name: job.stored.name }];
  if (status === "failed") return reason(job.error);
  if (status !== "sending") return [`files.${status}`];
  const speed = speedOf(job);
  if (!speed) return ["files.begun"];
  const left = (job.file.size - job.upload.sent) / speed;
  return ["files.sending", { speed: () => size(speed), left: () => duration(left) }];
}

/** Bytes a second; undefined until it is known. */
function speedOf({ samples, upload }) {
  const now = performance.now();
  samples.push({ at: now, sent: upload.sent });
  while (samples.length > 1 && now - samples[0].at > SPEED_MS) samples.shift();
  const elapsed = now - samples[0].at;
  return elapsed < SPEED_MIN_MS ? undefined : Math.round((1_000 * (upload.sent - samples[0].sent)) / elapsed);
}

function reason(error) {
  if (error instanceof DropError && DROP_CODES.has(error.code)) return [`drop.${error.code}`];
  if (error instanceof DropError) return ["files.other", { why: () => explain(error) }];
  if (error?.code === "refused") return ["files.refused"];
  return ["files.broken", { why: () => explain(error) }];
}

function build(job) {
  const { file } = job;
  job.item = element("li", "file");
  job.item.tabIndex = -1;
  const name = element("p", "file-name");
  name.dir = "auto";
  sayPlain(name, file.name);
  job.bar = element("progress");
  job.bar.max = Math.max(1, file.size);
  label(job.bar, "files.progress", { name: file.name });
  job.words = element("p", "file-state");
  job.hash = element("dl", "file-hash");
  const term = element("dt");
  say(term, "files.hash");
  job.hash.append(term, element("dd"));
  job.stop = button("files.cancel", "files.cancel-one", file, () => cancel(job));
  job.again = button("files.again", "files.again-one", file, () => sendAgain(job));
  job.item.append(name, job.bar, job.words, job.hash, job.stop, job.again);
}

function button(key, fullKey, file, press) {
  const made = element("button", "quiet");
  made.type = "button";
  say(made, key);
  label(made, fullKey, { name: file.name });
  made.addEventListener("click", press);
  return made;
}

function element(name, className) {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}
