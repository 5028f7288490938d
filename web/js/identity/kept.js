/**
 * What is known of each server, as bytes that the caller keeps: where there is no IndexedDB, or it is not to be used.
 *
 *   store.load() ─► JSON { version, servers: host → { algorithm, pkcs8, spki, serverKey?, keys?, enrolled?, ticket?,
 *                                                     first?, next?: { algorithm, pkcs8, spki } } } ─► store.store()
 *
 * The same functions as identity.js. The bytes hold the private key: whoever has them is this device. What is changed is
 * read anew first, and one change waits for the other, so that two lines of one store lose nothing.
 *
 * Errors are plain, with a code, as those of the core: this script is loaded only when it is asked for.
 */

import { within } from "../values.js";
import { browserName } from "../name.js";

const VERSION = 1;
/** How long a store may take: it may ask a person. What waits for it goes on then. */
const STORE_MILLIS = 60_000;
/** 32 bytes as base64url. */
const SERVER_KEY = /^[\w-]{43}$/;
const CURVE = { Ed25519: { name: "Ed25519" }, "P-256": { name: "ECDSA", namedCurve: "P-256" } };

/** The last change of each store. */
const turns = new WeakMap();

const toText = (bytes) => btoa(String.fromCharCode(...bytes));
const toBytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

const bad = (message) => Object.assign(new Error(message), { code: "bad-identity" });

/** What is known of each server. What is no such thing is never overwritten: somebody may still want it. */
function parse(bytes) {
  if (bytes === undefined || bytes === null) return {};
  let kept;
  try {
    kept = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    kept = undefined;
  }
  if (Number.isInteger(kept?.version) && kept.version !== VERSION) {
    throw bad(`What the identity's load() gives has version ${kept.version}, and this package knows ${VERSION} only: use the package that stored it.`);
  }
  if (kept?.version === VERSION && isObject(kept.servers)) return kept.servers;
  throw bad("What the identity's load() gives is nothing that its store() was given: restore it, or remove it.");
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isOptional = (type, value) => value === undefined || typeof value === type;

/** What is known of a server; undefined if nothing is. */
function recordOf(servers, host) {
  if (!Object.hasOwn(servers, host)) return undefined;
  const record = servers[host];
  const isKnown = isObject(record) && isOptional("boolean", record.enrolled) && isOptional("string", record.ticket);
  const isGood = (keys) => isObject(keys) && typeof keys.owner === "string" && Number.isInteger(keys.number) && Array.isArray(keys.past);
  const isPinned = record?.serverKey === undefined || SERVER_KEY.test(record.serverKey);
  if (isKnown && isPinned && (record.keys === undefined || isGood(record.keys))) return record;
  throw damaged(host);
}

function gone() {
  throw Object.assign(new Error("The device key was removed meanwhile."), { code: "no-identity" });
}

const damaged = (host) => bad(`What the identity's load() gives for ${host} is damaged: restore it, or remove it.`);

export function identities(store) {
  const asked = async (name, bytes) => {
    try {
      return await within(STORE_MILLIS, Promise.resolve(store[name](bytes)));
    } catch (error) {
      const code = error?.name === "TimeoutError" ? "store-stuck" : "store-refused";
      throw Object.assign(new Error(`The identity's ${name}() has failed: ${error?.message ?? error}`), { code });
    }
  };
  const read = async () => parse(await asked("load"));
  const change = (host, work) => {
    const turn = (turns.get(store) ?? Promise.resolve()).then(async () => {
      const servers = await read();
      const known = recordOf(servers, host);
      const record = await work(known);
      if (record === known) return record;
      const kept = { version: VERSION, servers: { ...servers, [host]: record } };
      await asked("store", new TextEncoder().encode(`${JSON.stringify(kept)}\n`));
      return record;
    });
    // The next change is none the worse for the failure of this one.
    turns.set(store, turn.catch(() => {}));
    return turn;
  };
  return {
    async load(host) {
      const record = recordOf(await read(), host);
      if (!record) return undefined;
      const { serverKey, keys, enrolled = false, ticket } = record;
      return { device: await signer(host, record), serverKey, keys, enrolled, ticket };
    },
    createIdentity: async (host) => signer(host, await change(host, (record) => record ?? generate())),
    /** A key that is to take the place of the device's own (renew.js), kept first. */
    async next(host) {
      const { next } = await change(host, async (record = gone()) => (record.next ? record : { ...record, next: await generate() }));
      return signer(host, next);
    },
    /** It has taken its place. */
    async useNext(host) {
      const record = await change(host, ({ next, ...record } = gone()) => ({ ...record, ...next, first: record.first ?? record.spki }));
      return signer(host, record);
    },
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

/** A key whose halves do not fit would be refused by the server, which cannot know why. */
async function signer(host, { algorithm, pkcs8, spki, first }) {
  const parameters = algorithm === "Ed25519" ? CURVE.Ed25519 : { name: "ECDSA", hash: "SHA-256" };
  try {
    const [secret, open] = [toBytes(pkcs8), toBytes(spki)];
    const key = await crypto.subtle.importKey("pkcs8", secret, CURVE[algorithm], false, ["sign"]);
    const sign = async (message) => new Uint8Array(await crypto.subtle.sign(parameters, key, message));
    const check = await crypto.subtle.importKey("spki", open, CURVE[algorithm], false, ["verify"]);
    const probe = new Uint8Array(32);
    if (await crypto.subtle.verify(parameters, check, await sign(probe), probe)) {
      return { algorithm, spki: open, name: browserName(), first: first && toBytes(first), sign };
    }
  } catch {
    // It is no key of that kind; how so, platforms say differently.
  }
  throw damaged(host);
}
