/**
 * Uploads that are not finished, remembered in this browser until they are, so that a reload does not begin them anew:
 *
 *   IndexedDB `duologue-page`, by upload id ─► { id, name, size, sent, at, handle? }
 *   localStorage `duologue-uploads`         ─► there is something to go on with (attach.js looks before it loads anything)
 *
 * The bytes are not kept. A handle (File System Access API) reads the file again; without one the person gives it again.
 * The server keeps its part for a day, and so does this.
 */

const DATABASE = "duologue-page";
const STORE = "uploads";
const FLAG = "duologue-uploads";
const KEPT_MS = 24 * 3_600 * 1_000;

/** One transaction. Where the browser keeps nothing, nothing is remembered: the upload itself goes on. */
async function transact(mode, work) {
  const database = await new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  database.onversionchange = () => database.close();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

function flag(isSet) {
  try {
    if (isSet) localStorage.setItem(FLAG, "1");
    else localStorage.removeItem(FLAG);
  } catch {
    // Then the next page asks for nothing.
  }
}

export async function remember(record) {
  try {
    await transact("readwrite", (uploads) => uploads.put({ ...record, at: Date.now() }));
    flag(true);
  } catch {
    // As above.
  }
}

export async function forgetUpload(id) {
  try {
    await transact("readwrite", (uploads) => uploads.delete(id));
    if ((await transact("readonly", (uploads) => uploads.count())) === 0) flag(false);
  } catch {
    // As above.
  }
}

export async function forgetAllUploads() {
  flag(false);
  await transact("readwrite", (uploads) => uploads.clear()).catch(() => {});
}

/** What can be gone on with, the oldest first. */
export async function unfinished() {
  try {
    const all = await transact("readonly", (uploads) => uploads.getAll());
    const isOld = ({ at }) => Date.now() - at > KEPT_MS;
    for (const { id } of all.filter(isOld)) await forgetUpload(id);
    const kept = all.filter((record) => !isOld(record)).sort((a, b) => a.at - b.at);
    flag(kept.length > 0);
    return kept;
  } catch {
    return [];
  }
}
