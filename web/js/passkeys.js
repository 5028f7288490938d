/**
 * Passkeys: a person shows to be there, and keeps what they show it by. Loaded only where that is asked for.
 *
 *   { ask } ─► the server's service `passkeys` ─► options ─► navigator.credentials ─► the person ─► credential ─► the server
 *
 * The challenge is the session's: the line may lose its connection while the person looks for the key. The channel goes on with the
 * session, in a worker too, and an answer to another session's challenge is worth nothing. WebAuthn itself is the page's alone.
 */

import { DuologueError } from "./duologue.js";
import { base64url, deferred, fromJson, toBytes } from "./values.js";

const LABEL = "passkeys";
/** What messages are filled to, so that their lengths say nothing. The longest that the server takes is the last. */
const FILLED = [2_048, 4_096, 8_192];

/** What is told of each word of the server's: what has happened, and what to do. */
const SENTENCES = {
  "passkey-none": "This account has no passkey: register one, within 5 minutes of a login.",
  "passkey-unknown": "This account has no such passkey: use one that is registered for it.",
  "passkey-late": "The passkey has answered too late, or for another session: try again.",
  "passkey-refused": "What the passkey has signed is not what was asked for: the server's owner finds the cause in its log.",
  "passkey-unverified": "The passkey has not verified who uses it: set a PIN, a finger or a face for it, and try again.",
  "passkey-copied": "There may be a copy of this passkey: remove it, and register another.",
  "passkey-algorithm": "The server does not take this kind of passkey: use another one.",
  "passkey-known": "This passkey is registered already: use it as it is.",
  "passkey-too-many": "This account has as many passkeys as it may: remove one that is not used any more.",
  "login-too-old": "A first passkey takes a login of the last 5 minutes: log in anew, and try again.",
  "no-subject": "Nobody has said whose this session is: log in first.",
  "step-up-needed": "This takes a person who has just shown to be there by a passkey: do that first.",
};

const none = () => new DuologueError("no-passkeys", "This browser has no passkeys: use another one.");
const refused = (word) => new DuologueError(word, SENTENCES[word] ?? `The server does not take this: ${word}.`);

/** What browsers say by the names of their errors. */
const CAUSES = {
  NotAllowedError: () => new DuologueError("no-presence", "No passkey was used: it was refused, or took too long."),
  InvalidStateError: () => refused("passkey-known"),
  NotSupportedError: () => refused("passkey-algorithm"),
  SecurityError: () => new DuologueError("wrong-host", "This page may not use the server's passkeys: its host is not of their `rp_id`."),
};

export async function stepUp(link, { signal } = {}) {
  await conversation(link, signal, async (ask, credentials) => {
    const { publicKey } = await ask({ ask: "step-up" });
    const { challenge, allowCredentials } = publicKey;
    const options = { ...publicKey, challenge: bytesOf(challenge), allowCredentials: allowCredentials.map(described) };
    const credential = await used(credentials.get({ publicKey: options, signal }), signal);
    await ask({ ask: "present", credential });
  });
  return link.standing;
}

export async function register(link, { name = "", signal } = {}) {
  return conversation(link, signal, async (ask, credentials) => {
    const { publicKey } = await ask({ ask: "register" });
    const { challenge, user, excludeCredentials } = publicKey;
    const options = {
      ...publicKey,
      challenge: bytesOf(challenge),
      user: { ...user, id: bytesOf(user.id) },
      excludeCredentials: excludeCredentials.map(described),
    };
    const credential = await used(credentials.create({ publicKey: options, signal }), signal);
    return shown((await ask({ ask: "registered", name: String(name), credential })).passkey);
  });
}

export async function list(link) {
  return conversation(link, undefined, async (ask) => (await ask({ ask: "list" })).passkeys.map(shown));
}

export async function remove(link, id) {
  return conversation(link, undefined, async (ask) => shown((await ask({ ask: "remove", id: String(id) })).passkey));
}

/** The server tells that a passkey was registered on another device of this person. */
export async function heard(link, channel) {
  for await (const { registered } of channel.json()) {
    if (registered) link.dispatchEvent(new CustomEvent("passkey", { detail: shown(registered) }));
  }
}

/** Asks on a channel of its own, one question after the other. */
async function conversation(link, signal, work) {
  signal?.throwIfAborted();
  const credentials = globalThis.navigator?.credentials;
  const channel = link.channel(LABEL);
  const messages = channel[Symbol.asyncIterator]();
  const stop = deferred();
  stop.promise.catch(() => {}); // whoever waits hears it
  const abort = () => stop.reject(signal.reason);
  signal?.addEventListener("abort", abort, { once: true });
  const ask = async (question) => {
    channel.send(filled(JSON.stringify(question))).catch(() => {}); // the answer, or its absence, says more
    const { value, done } = await Promise.race([messages.next(), stop.promise]);
    if (done) throw new DuologueError("no-answer", "The server has said nothing about passkeys.");
    const answer = fromJson(value);
    if (answer.refused) throw refused(answer.refused);
    return answer;
  };
  try {
    return await work(ask, {
      get: async (options) => existing(credentials).get(options),
      create: async (options) => existing(credentials).create(options),
    });
  } finally {
    signal?.removeEventListener("abort", abort);
    channel.cancel();
  }
}

function existing(credentials) {
  if (credentials?.create) return credentials;
  throw none();
}

/** What an authenticator gave, as JSON: `toJSON` is not there in every browser. Or why it gave nothing. */
async function used(asked, signal) {
  let credential;
  try {
    credential = await asked;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw CAUSES[error?.name]?.() ?? error;
  }
  const given = credential?.response;
  if (!given) throw none();
  const text = (buffer) => (buffer ? base64url(toBytes(buffer)) : undefined);
  return {
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    clientExtensionResults: {},
    response: {
      clientDataJSON: text(given.clientDataJSON),
      authenticatorData: text(given.attestationObject ? undefined : given.authenticatorData),
      signature: text(given.signature),
      userHandle: text(given.userHandle),
      attestationObject: text(given.attestationObject),
      transports: given.attestationObject ? (given.getTransports?.() ?? []) : undefined,
    },
  };
}

const described = ({ id, type, transports }) => ({ id: bytesOf(id), type, transports });

const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

function filled(json) {
  const { length } = toBytes(json);
  return json + " ".repeat((FILLED.find((len) => len >= length) ?? length) - length);
}

function shown({ id, name, made_at: made, used_at: usedAt, backed_up: isBackedUp, here }) {
  const date = (secs) => (secs ? new Date(secs * 1_000) : undefined);
  return Object.freeze({ id, name, made: date(made), used: date(usedAt), backedUp: isBackedUp, here });
}
