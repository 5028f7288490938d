/**
 * "Files": the three ways in (chosen, dropped on the page, pasted). Loaded when the server takes files, or an earlier page
 * has left some unfinished. What becomes of them is the matter of files.js, which is loaded when there is something for it
 * to do.
 *
 *   change, drop, paste ─► import("./files.js") ─► addFiles; from then on it hears of the line too
 *   an upload that an earlier page left unfinished ─► the same ─► restore
 */

import { learn, say } from "./base.js";
import { ATTACH_WORDS } from "./words/text-attach.js";

const root = document.documentElement;
const section = document.getElementById("files");
const input = document.getElementById("files-input");
const choose = document.getElementById("files-choose");
const note = document.getElementById("files-note");
const list = document.getElementById("files-list");
let link; // of a line that was open at least once, until it ends
let state = "connecting";
let files; // the module, once it is there
let loading;
let isServed = false;

learn(ATTACH_WORDS);

/** Whether the server takes files: nothing is offered that it refuses. What was under way stays to be seen. */
export function served(is) {
  isServed = is;
  choose.hidden = !is;
  section.hidden = !is && list.hidden;
}

/** The line is open for the first time: what waits is sent. */
export function openFiles(openLink) {
  link = openLink;
  files?.openFiles(link);
}

/** The line has ended. What was not finished waits for another, and goes on there. */
export function closeFiles() {
  link = undefined;
  files?.closeFiles();
}

export function filesState(next) {
  state = next;
  files?.filesState(state);
}

/** This device is forgotten, and with it what was left unfinished. */
export async function forgetFiles() {
  await (await load())?.forgetFiles();
}

/** Shows what an earlier page has left unfinished. */
export async function restoreFiles() {
  await (await load())?.restore();
  served(isServed);
}

/** Loads what sends files, once. Undefined if that fails; the page says so. */
function load() {
  loading ??= import("./files.js").then(
    (module) => {
      files = module;
      files.filesState(state);
      if (link) files.openFiles(link);
      return files;
    },
    () => {
      loading = undefined;
      say(note, "files.not-loaded");
      note.hidden = false;
    },
  );
  return loading;
}

/** `given` are files, or handles that can read them again after a reload; a FileList empties, hence arrays. */
async function add(given) {
  const all = await Promise.all(given);
  const readable = all.map(async (one) => {
    if (one instanceof File) return { file: one };
    return one?.kind === "file" ? { file: await one.getFile(), handle: one } : undefined; // a folder is none
  });
  const found = (await Promise.all(readable.map((one) => one.catch(() => {})))).filter(Boolean);
  if (found.length > 0) (await load())?.addFiles(found);
}

async function pick() {
  if (!globalThis.showOpenFilePicker) {
    input.click();
    return;
  }
  try {
    add(await showOpenFilePicker({ multiple: true }));
  } catch (error) {
    if (error.name !== "AbortError") input.click(); // forbidden here; the field is not
  }
}

choose.addEventListener("pointerenter", load);
choose.addEventListener("click", pick);
input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // so that the same file can be chosen again
});

const carriesFiles = (event) => isServed && event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  root.dataset.dropping = "";
  load();
});
addEventListener("dragleave", (event) => event.relatedTarget ?? delete root.dataset.dropping);
addEventListener("drop", (event) => {
  delete root.dataset.dropping;
  if (!carriesFiles(event)) return;
  event.preventDefault(); // the browser would leave the page for the file
  // Both are asked now: after this event there is nothing left to ask.
  const { files: dropped, items } = event.dataTransfer;
  const handles = [...items].filter(({ kind }) => kind === "file").map((item) => item.getAsFileSystemHandle?.());
  add([...dropped].map(async (file, at) => (await handles[at]?.catch(() => {})) ?? file));
});

addEventListener("paste", (event) => {
  const { files: pasted, types } = event.clipboardData;
  // Office programs offer a picture of the text beside it: in a field, the text is meant.
  if (!isServed || pasted.length === 0 || (event.target.closest?.("textarea") && types.includes("text/plain"))) return;
  event.preventDefault();
  add([...pasted]);
});
