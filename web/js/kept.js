/**
 * What is known of each server, as bytes that the caller keeps: where there is no IndexedDB, or it is not to be used.
 *
 *   store.load() ─► JSON { version, servers: host → { algorithm, pkcs8, spki, serverKey?, enrolled?, ticket? } } ─► store.store()
 *
 * The same functions as identity.js. The bytes hold the private key: whoever has them is this device. What is changed is
 * read anew first, and one change waits for the other, so that two lines of one store lose nothing.
 *
 * Errors are plain, with a code, as those of the core: this script is loaded only when it is asked for.
 */

const VERSION = 1;
const CURVE = { Ed25519: { name: "Ed25519" }, "P-256": { name: "ECDSA", namedCurve: "P-256" } };

/** The last change of each store. */
const turns = new WeakMap();

const toText = (bytes) => btoa(String.fromCharCode(...bytes));
const toBytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

export function identities(store) {
  const read = async () => {
    const bytes = await store.load();
    if (bytes === undefined || bytes === null) return {};
    let kept;
    try {
      kept = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      kept = undefined;
    }
    if (kept?.version === VERSION && typeof kept.servers === "object") return kept.servers;
    const message = "What the identity's load() gives is nothing that its store() was given: restore it, or remove it.";
    throw Object.assign(new Error(message), { code: "bad-identity" });
  };
  const change = (host, work) => {
    const turn = (turns.get(store) ?? Promise.resolve()).then(async () => {
      const servers = await read();
      const record = await work(servers[host]);
      if (record === servers[host]) return record;
      const kept = { version: VERSION, servers: { ...servers, [host]: record } };
      await store.store(new TextEncoder().encode(`${JSON.stringify(kept)}\n`));
      return record;
    });
    // The next change is none the worse for the failure of this one.
    turns.set(store, turn.catch(() => {}));
    return turn;
  };
  return {
    async load(host) {
      const record = (await read())[host];
      if (!record) return undefined;
      const { serverKey, enrolled = false, ticket } = record;
      return { device: await signer(record), serverKey, enrolled, ticket };
    },
    createIdentity: async (host) => signer(await change(host, (record) => record ?? generate())),
    // Removed meanwhile: it stays so.
    store: (host, known) => change(host, (record) => record && { ...record, ...known }),
  };
}

async function generate() {
  let algorithm = "Ed25519";
  let keys;
  try {
    keys = await crypto.subtle.generateKey(CURVE[algorithm], true, ["sign", "verify"]);
  } catch {
    algorithm = "P-256";
    keys = await crypto.subtle.generateKey(CURVE[algorithm], true, ["sign", "verify"]);
  }
  const [pkcs8, spki] = await Promise.all([
    crypto.subtle.exportKey("pkcs8", keys.privateKey),
    crypto.subtle.exportKey("spki", keys.publicKey),
  ]);
  return { algorithm, pkcs8: toText(new Uint8Array(pkcs8)), spki: toText(new Uint8Array(spki)) };
}

async function signer({ algorithm, pkcs8, spki }) {
  const key = await crypto.subtle.importKey("pkcs8", toBytes(pkcs8), CURVE[algorithm], false, ["sign"]);
  const parameters = algorithm === "Ed25519" ? CURVE.Ed25519 : { name: "ECDSA", hash: "SHA-256" };
  const sign = async (message) => new Uint8Array(await crypto.subtle.sign(parameters, key, message));
  return { algorithm, spki: toBytes(spki), sign };
}
