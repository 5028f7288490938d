/**
 * What this browser keeps for each server, and account, by host (`placeOf`): the device key, the pinned server key, the ticket.
 *
 *   IndexedDB "duologue" / "identities":  host → { keys, algorithm, spki, name, first?: the SPKI that the device was let in with,
 *                                                  next?: { keys, algorithm, spki }, which is to take its place (renew.js) }
 *                                         [host, spki] → { serverKey, keys?, enrolled, ticket }: what is known of it (keys: keys.js)
 *                                         [host, "snapshot:…"] → the key of what a page leaves to the next one (snapshot.js)
 *   localStorage "duologue:<host>":       the pinned server key once more, once let in, so that a lost key can be told from none
 *
 * The private key is a CryptoKey that cannot be exported: a script that gets in can use it while it runs, not take it away.
 *
 * No tab waits for another: there is no lock, and each transaction is committed with its requests, since one that waits for
 * its page would make all others wait while that shows a dialogue. Two tabs that start together make one key, because a row
 * is added only where none is. A storage that does not answer is given up.
 */

import { within } from "../values.js";

const DATABASE = "duologue";
const STORE = "identities";
/** How long the storage may take. */
const STORE_MILLIS = 10_000;

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => {
      // Another page that deletes the database must not wait for this one.
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
}

async function attempt(mode, work) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      const request = work(transaction.objectStore(STORE));
      const done = () => resolve(request.result);
      if (mode === "readonly") request.onsuccess = done; // what was read need not be committed
      else transaction.oncomplete = done;
      transaction.onabort = () => reject(transaction.error ?? request.error);
      transaction.commit?.();
    });
  } finally {
    database.close();
  }
}

/** One transaction; `work` gives the request whose result is the answer. */
export function transact(mode, work) {
  return within(STORE_MILLIS, attempt(mode, work)).catch((error) => {
    throw Object.assign(error, { of: "store" }); // why.js knows what that means
  });
}

const read = (key) => transact("readonly", (identities) => identities.get(key));

const damaged = () => Object.assign(new Error("no key"), { name: "DataError", of: "store" });

const pinName = (host) => `duologue:${host}`;

function storedPin(host) {
  try {
    return localStorage.getItem(pinName(host)) ?? undefined;
  } catch {
    return undefined;
  }
}

function storePin(host, serverKey) {
  try {
    if (serverKey === undefined) localStorage.removeItem(pinName(host));
    else localStorage.setItem(pinName(host), serverKey);
  } catch {
    // Without it only the words differ after a loss.
  }
}

/** What is known of a server; undefined if nothing is. */
export async function load(host) {
  // In one transaction, which is committed with its requests: all keys that there were here, mostly one.
  const all = IDBKeyRange.bound([host, new Uint8Array()], [host, []]);
  let [keys, rows] = [];
  const record = await transact("readonly", (identities) => {
    keys = identities.getAllKeys(all);
    rows = identities.getAll(all);
    return identities.get(host);
  });
  const at = keys.result.findIndex(([, spki]) => String(new Uint8Array(spki)) === String(record?.spki));
  const row = rows.result[at];
  const known = record && { ...record, ...row, keys: record.keys };
  const serverKey = known?.serverKey ?? storedPin(host);
  if (!known && serverKey === undefined) return undefined;
  return { device: known && signer(known), serverKey, keys: row?.keys, enrolled: known?.enrolled ?? false, ticket: known?.ticket };
}

/** This browser's device for a server; made if there is none. */
export async function createIdentity(host) {
  let record = await read(host);
  if (!record) {
    const { generate } = await import("./generate.js");
    const made = await generate();
    let failure; // perhaps another tab was first
    await transact("readwrite", (identities) => identities.add(made, host)).catch((error) => (failure = error));
    record = await read(host);
    if (!record) throw failure ?? damaged();
  }
  return signer(record);
}

/** Adds to what is known of a server by this device. */
export async function store(host, known, { spki }) {
  const key = [host, spki];
  await transact("readwrite", (identities) => identities.put(known, key));
  if (known.enrolled) storePin(host, known.serverKey); // a guest who loses his key has lost nothing
  const record = await read(host);
  if (String(record?.spki) === String(spki)) return;
  // Forgotten meanwhile: it stays so.
  await transact("readwrite", (identities) => identities.delete(key));
  if (!record) storePin(host, undefined);
}

export async function forget(host) {
  await transact("readwrite", (identities) => {
    identities.delete(IDBKeyRange.bound([host], [host, []]));
    return identities.delete(host);
  });
  storePin(host, undefined);
  // Shared lines end with it, also one that waits for a page (worker/grace.js).
  if (!globalThis.BroadcastChannel) return;
  const lines = new BroadcastChannel(DATABASE);
  lines.postMessage({ forgotten: host });
  lines.close();
}

export function signer({ keys, algorithm, spki, name, first }) {
  if (!keys?.privateKey) throw damaged();
  const parameters = algorithm === "Ed25519" ? { name: "Ed25519" } : { name: "ECDSA", hash: "SHA-256" };
  const sign = async (message) => new Uint8Array(await crypto.subtle.sign(parameters, keys.privateKey, message));
  return { algorithm, spki, name, first, sign };
}
