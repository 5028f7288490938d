/**
 * What this browser keeps for each server, by host: the device key, the pinned server key, the ticket.
 *
 *   IndexedDB "duologue" / "identities":  host → { keys, algorithm, spki, serverKey?, enrolled?, ticket? }
 *   localStorage "duologue:<host>":       the pinned server key once more, so that a lost key can be told from none
 *
 * The private key is a CryptoKey that cannot be exported: a script that gets in can use it while it runs, not take it away.
 */

const DATABASE = "duologue";
const STORE = "identities";

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
    request.onblocked = () => reject(new Error("Another tab holds an older version of this page: close it."));
  });
}

/** One transaction; `work` gives the request whose result is the answer. */
async function transact(mode, work) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** Two tabs that start together must not make two keys. */
const alone = (host, work) => navigator.locks?.request(`duologue:${host}`, work) ?? work();

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
  const record = await transact("readonly", (identities) => identities.get(host));
  const serverKey = record?.serverKey ?? storedPin(host);
  if (!record && serverKey === undefined) return undefined;
  return { device: record && signer(record), serverKey, enrolled: record?.enrolled ?? false, ticket: record?.ticket };
}

/** This browser's device for a server; made if there is none. */
export function createIdentity(host) {
  return alone(host, async () => {
    let record = await transact("readonly", (identities) => identities.get(host));
    if (!record) {
      record = await generate();
      const made = record;
      await transact("readwrite", (identities) => identities.put(made, host));
    }
    return signer(record);
  });
}

/** Adds to what is known of a server. */
export function store(host, known) {
  return alone(host, async () => {
    const record = await transact("readonly", (identities) => identities.get(host));
    // Forgotten meanwhile: it stays so.
    if (!record) return;
    await transact("readwrite", (identities) => identities.put({ ...record, ...known }, host));
    storePin(host, known.serverKey);
  });
}

export function forget(host) {
  return alone(host, async () => {
    await transact("readwrite", (identities) => identities.delete(host));
    storePin(host, undefined);
  });
}

/** Ed25519 where the browser has it, else ECDSA over P-256. */
async function generate() {
  let keys;
  let algorithm = "Ed25519";
  try {
    keys = await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]);
  } catch {
    algorithm = "P-256";
    keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
  }
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  return { keys, algorithm, spki };
}

function signer({ keys, algorithm, spki }) {
  const parameters = algorithm === "Ed25519" ? { name: "Ed25519" } : { name: "ECDSA", hash: "SHA-256" };
  const sign = async (message) => new Uint8Array(await crypto.subtle.sign(parameters, keys.privateKey, message));
  return { algorithm, spki, sign };
}
