/**
 * Another key in the place of this device's own, which stays the same device: loaded only where that is asked for.
 *
 *   next key, kept ─► { ask: "next" } with its signature ─► both are good ─► kept in the place of the one before ─► { ask: "use" }
 *                                                                            the server ends what the one before has opened,
 *                                                                            and the line goes on by the next one
 *
 * Whatever breaks in between, the key that is kept is good, and what was begun is gone on with the next time. One tab does it at a
 * time; the others read the key anew with their next connection (link.js).
 */

import { DuologueError } from "./duologue.js";
import { signer, transact } from "./identity/identity.js";
import { base64url, fromJson, namesOf, sha256 } from "./values.js";

const CONTEXT = new TextEncoder().encode("duologue/1 device-key\0");
/** What messages are filled to: on the wire all are alike. */
const FILLED = 1_024;

/** What is told of each word of the server's. */
const SENTENCES = {
  "not-enrolled": "Nobody has let this device in: only one that was let in has a key to renew.",
  "too-often": "This device has had as many keys in a day as it may: try again tomorrow.",
};

const refused = (word) => new DuologueError("key-refused", SENTENCES[word] ?? `The server does not take the key: ${word}.`);
const gone = () => new DuologueError("no-identity", "The device key was forgotten meanwhile.");
const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

export async function renew(link, about) {
  await link.ready;
  const [place, identity, kept] = about();
  const renewing = () => over(link, place, identity, kept ?? inBrowser);
  const { locks } = globalThis.navigator ?? {};
  await (locks ? locks.request(`duologue-key:${place}`, renewing) : renewing()).catch((error) => {
    throw error instanceof DuologueError ? error : new DuologueError(typeof error.code === "string" ? error.code : "store-refused", error.message);
  });
}

async function over(link, place, identity, keys) {
  const channel = link.channel("device-key");
  const messages = channel[Symbol.asyncIterator]();
  const ask = async (question) => {
    channel.send(JSON.stringify(question).padEnd(FILLED)).catch(() => {}); // the answer, or its absence, says more
    const { value, done } = await messages.next();
    if (done) throw new DuologueError("no-answer", "The server has said nothing about the key.");
    const answer = fromJson(value);
    if (answer.refused) throw refused(answer.refused);
    return answer;
  };
  try {
    const { challenge } = await ask({ ask: "challenge" });
    const next = await keys.next(place);
    // Another tab may have renewed it since this one has read it.
    const [before, its] = await Promise.all([sha256((await keys.load(place)).device.spki), sha256(next.spki)]);
    const signature = await next.sign(Uint8Array.of(...CONTEXT, ...bytesOf(challenge), ...before, ...its));
    const { algorithm, spki } = next;
    await ask({ ask: "next", algorithm, spki: base64url(spki), signature: base64url(signature) });
    Object.assign(identity, await keys.useNext(place));
    link.device = Object.freeze({ ...link.device, ...(await namesOf(identity)), algorithm });
    // The answer comes over a connection that the next key has opened.
    await ask({ ask: "use" });
  } finally {
    channel.cancel();
  }
}

const read = async (host) => (await transact("readonly", (identities) => identities.get(host))) ?? Promise.reject(gone());

/** As those of kept.js. */
const inBrowser = {
  load: async (host) => ({ device: await read(host) }),
  async next(host) {
    const record = await read(host);
    if (!record.next) {
      const { generate } = await import("./identity/generate.js");
      const { keys, algorithm, spki } = await generate();
      record.next = { keys, algorithm, spki };
      await transact("readwrite", (identities) => identities.put(record, host));
    }
    return signer(record.next);
  },
  async useNext(host) {
    const { next, ...record } = await read(host);
    const now = { ...record, ...next, first: record.first ?? record.spki };
    const known = await transact("readonly", (identities) => identities.get([host, record.spki]));
    await transact("readwrite", (identities) => {
      identities.delete([host, record.spki]);
      if (known) identities.put(known, [host, now.spki]);
      return identities.put(now, host);
    });
    return signer(now);
  },
};
