/**
 * Files on their way: what attach.js was given goes to the server one after the other. Loaded with the first of them.
 *
 *   waiting ─► sending (checking, held while there is no line, storing) ─► done, failed or cancelled ─► waiting, if sent again
 *     └───◄─► paused ◄──┘      asks (left unfinished by an earlier page) ─► waiting, when the file is given again
 *
 * What is shown as sent is what the server's service has taken. For the eye words change four times a second; for the ear
 * only when a file's fate does.
 */

import { duration, percent, size } from "./amounts.js";
import { addWords, explain, label, say, sayPlain, uploading } from "./base.js";
import { FILES_WORDS } from "./words/text-files.js";
import { forgetAllUploads, forgetUpload, remember, unfinished } from "./unfinished.js";
import { DropError, Upload } from "./upload.js";

addWords(FILES_WORDS);

const KEPT_FILES = 200;
const DRAW_MS = 250;
/** How far an upload is, is written down so often. The server knows better; this is for the eye, after a reload. */
const REMEMBER_MS = 1_000;
/** The speed is that of the last seconds; before the first of them there is none. */
const SPEED_MS = 5_000;
const SPEED_MIN_MS = 1_000;
const UNDER_WAY = new Set(["waiting", "sending", "paused", "asks"]);
const TOLD = new Set(["sending", "held", "paused", "asks", "done", "failed", "cancelled"]);
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
const input = document.getElementById("files-input");
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
  uploading(true);
  const timer = setInterval(() => draw(job), DRAW_MS);
  const keeper = setInterval(() => keep(job), REMEMBER_MS);
  try {
    job.stored = await job.upload.run(used);
    become(job, "done");
  } catch (error) {
    job.error = error;
    if (job.upload.cancelled) become(job, job.next);
    else become(job, used.state === "closed" ? "waiting" : "failed");
  }
  uploading(false);
  clearInterval(timer);
  clearInterval(keeper);
  if (job.status === "done" || job.status === "cancelled") forgetUpload(job.upload.id);
  else keep(job);
  current = undefined;
  sendNext();
}

/** Takes what the person has given: files, each with a handle that can read it again where the browser has one. */
export function addFiles(given) {
  note.hidden = true;
  for (const { file, handle } of given) {
    // An upload that was left unfinished goes on. Whether it is the same file, its hash says.
    const begun = jobs.find((job) => job.status === "asks" && job.file.name === file.name && job.file.size === file.size);
    if (begun) {
      begin(begun, file, handle);
      continue;
    }
    while (jobs.length >= KEPT_FILES && forgetOne());
    if (jobs.length >= KEPT_FILES) {
      say(note, "files.many", { count: KEPT_FILES });
      note.hidden = false;
      break;
    }
    const job = { file, status: "waiting" };
    put(job);
    begin(job, file, handle);
  }
  sendNext();
}

/** Shows what an earlier page has left unfinished, and goes on with what can be read without asking. */
export async function restore() {
  for (const { id, name, size: length, sent, handle } of await unfinished()) {
    if (jobs.length >= KEPT_FILES || jobs.some(({ upload }) => upload.id === id)) continue;
    const job = { file: { name, size: length }, upload: { id, sent }, status: "asks", handle };
    put(job);
    if ((await handle?.queryPermission?.({ mode: "read" }).catch(() => {})) === "granted") await reopen(job);
  }
}

/** This device is forgotten: nothing goes on, and nothing of it is remembered. */
export async function forgetFiles() {
  for (const job of jobs) if (UNDER_WAY.has(job.status)) halt(job, "cancelled");
  await forgetAllUploads();
}

function put(job) {
  build(job);
  jobs.push(job);
  list.append(job.item);
  list.hidden = false;
  if (job.upload) draw(job);
}

/** The file is there: its upload is new, or the one that was begun. */
function begin(job, file, handle) {
  const { id, sent } = job.upload ?? {};
  job.file = file;
  job.handle = handle;
  job.upload = new Upload(file, id, () => {
    forgetUpload(id);
    keep(job);
  });
  job.upload.sent = sent ?? 0;
  become(job, "waiting");
  keep(job);
}

/** Reads the file of an unfinished upload again by its handle, or has the person choose it. */
async function reopen(job) {
  const { handle } = job;
  if (!handle) {
    input.click();
    return;
  }
  try {
    if (handle.requestPermission && (await handle.requestPermission({ mode: "read" })) !== "granted") return;
    const file = await handle.getFile();
    if (job.status !== "asks") return;
    begin(job, file, handle);
    sendNext();
  } catch {
    job.handle = undefined; // moved or removed: the person may know where it is
    draw(job);
  }
}

function keep({ status, next, file, upload, handle }) {
  if (!UNDER_WAY.has(status) || next === "cancelled") return;
  remember({ id: upload.id, name: file.name, size: file.size, sent: upload.sent, handle });
}

/** Drops the oldest file that is done with. */
function forgetOne() {
  const at = jobs.findIndex(({ status }) => !UNDER_WAY.has(status));
  if (at < 0) return false;
  const [job] = jobs.splice(at, 1);
  job.item.remove();
  return true;
}

/** Ends an upload, for good or for a while. What the server has of it, it keeps for a day. */
function halt(job, next) {
  job.next = next;
  if (job === current) job.upload.cancel();
  else become(job, next);
  if (next === "cancelled" && job !== current) forgetUpload(job.upload.id);
}

function goOn(job) {
  if (job.status === "failed" || job.status === "cancelled") job.upload.sent = 0; // until the server tells what it has kept
  job.next = undefined;
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
  const { file, upload, item, bar, words, hash, pause, reopened, stop, again } = job;
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
    // Once all of it has arrived, there is nothing left to go on with.
    pause.hidden = (job.status !== "sending" && job.status !== "waiting") || status === "storing";
    reopened.hidden = job.status !== "asks";
    job.resume.hidden = job.status !== "paused";
    again.hidden = job.status !== "failed" && job.status !== "cancelled";
    bar.hidden = job.status === "failed" || job.status === "cancelled";
    hash.hidden = job.status !== "done";
    if (status === "done") sayPlain(hash.querySelector("dd"), job.stored.sha256);
    if (focused && !item.contains(document.activeElement)) ([again, job.resume, reopened, pause, stop].find(({ hidden }) => !hidden) ?? item).focus();
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
  if (status === "asks") return [job.handle ? "files.asks-again" : "files.asks"];
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
  job.pause = button("files.pause", "files.pause-one", file, () => halt(job, "paused"));
  job.resume = button("files.resume", "files.resume-one", file, () => goOn(job));
  job.reopened = button("files.reopen", "files.reopen-one", file, () => reopen(job));
  job.stop = button("files.cancel", "files.cancel-one", file, () => halt(job, "cancelled"));
  job.again = button("files.again", "files.again-one", file, () => goOn(job));
  const actions = element("div", "file-actions");
  actions.append(job.pause, job.resume, job.reopened, job.stop, job.again);
  job.item.append(name, job.bar, job.words, job.hash, actions);
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
