/**
 * "Files": the three ways in (chosen, dropped on the page, pasted). What becomes of them is the matter of files.js, which
 * is loaded when there is something for it to do.
 *
 *   change, drop, paste ─► import("./files.js") ─► addFiles; from then on it hears of the line too
 */

import { say } from "./say.js";

const root = document.documentElement;
const input = document.getElementById("files-input");
const choose = document.getElementById("files-choose");
const note = document.getElementById("files-note");
let link; // of a line that was open at least once, until it ends
let state = "connecting";
let files; // the module, once it is there
let loading;

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

/** A FileList empties with its field or its event: hence an array. */
const add = async (given) => (await load())?.addFiles(given);

choose.addEventListener("pointerenter", load);
choose.addEventListener("click", () => input.click());
input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // so that the same file can be chosen again
});

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
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
  add([...event.dataTransfer.files]);
});

addEventListener("paste", (event) => {
  const { files: pasted, types } = event.clipboardData;
  // Office programs offer a picture of the text beside it: in a field, the text is meant.
  if (pasted.length === 0 || (event.target.closest?.("textarea") && types.includes("text/plain"))) return;
  event.preventDefault();
  add([...pasted]);
});
