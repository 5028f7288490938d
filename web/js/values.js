/**
 * What passes through the other files: bytes from whatever the page gives, and values that are waited for.
 */

import { DuologueError } from "./errors.js";

/** The longest message. */
const MESSAGE_LEN_MAX = 16 * 1_024 * 1_024;
/** The longest that the platform's timers wait. */
const TIMER_MILLIS_MAX = 0x7fff_ffff;

/** Codes on the wire for what this end gives up. */
export const RESET_CANCELLED = 1;
export const RESET_DEADLINE = 2;

/** How a channel waits beside others, as the core takes it: its step of priority, and the length of its tail. */
export function toKind({ priority = 1, tail } = {}) {
  if (![0, 1, 2].includes(priority)) throw new RangeError("`priority` is 0 (first), 1 (normal) or 2 (last).");
  if (tail !== undefined && !(tail >>> 0 === tail)) throw new RangeError("`tail` is a number of bytes, 0 to 4,294,967,295.");
  return [priority, tail];
}

export function toBytes(data) {
  // Not what is derived from it: `slice` of Node's Buffer copies nothing. One that was given away is empty, and named below.
  if (data?.constructor === Uint8Array && ArrayBuffer.isView(data) && data.length > 0) return data;
  if (typeof data === "string") return new TextEncoder().encode(data);
  if (Object.prototype.toString.call(data) === "[object ArrayBuffer]") return new Uint8Array(data); // of a frame too
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new TypeError("Duologue sends a Uint8Array, an ArrayBuffer or a string; for anything else use sendJson.");
}

/** The bytes of a message. */
export function toMessage(data) {
  const bytes = toBytes(data);
  if (bytes.length <= MESSAGE_LEN_MAX) return bytes;
  const sentence = `The message has ${bytes.length} bytes; the other end takes at most ${MESSAGE_LEN_MAX}.`;
  throw new DuologueError("message-too-long", sentence, "not sent");
}

export function toJson(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`Of ${typeof value} there is no JSON.`);
  return text;
}

/** Milliseconds as the application gives them; any number that is none is refused. */
export function toMillis(value) {
  if (typeof value === "number" && value >= 0) return value;
  throw new RangeError(`A time is a number of milliseconds, 0 or more, or Infinity: ${String(value)} is none.`);
}

/** Calls after so many milliseconds, however many they are. Returns what undoes it. */
export function after(millis, work) {
  let timer;
  const wait = (left) => {
    const next = Math.min(left, TIMER_MILLIS_MAX);
    timer = setTimeout(() => (left > next ? wait(left - next) : work()), next);
  };
  if (millis !== Infinity) wait(millis);
  return () => clearTimeout(timer);
}

export const fromJson = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** Messages that lie one after the other, each in a buffer of its own. */
export function split(bytes, ends) {
  const messages = new Array(ends.length);
  let start = 0;
  for (let at = 0; at < ends.length; at++) messages[at] = bytes.slice(start, (start = ends[at]));
  return messages;
}

/** Text behind its length. */
const textAt = (bytes, at) => new TextDecoder().decode(bytes.slice(at + 1, at + 1 + bytes[at]));

/** Labels as AUTH_OK has them, their number and one, each behind its length, undefined if they are not told; and what follows. */
export function labelsOf(bytes) {
  const labels = [];
  let at = 1;
  for (let count = bytes[0]; count > 1; count--, at += 1 + bytes[at]) labels.push(textAt(bytes, at));
  return [bytes[0] ? Object.freeze(labels) : undefined, bytes.slice(at)];
}

/** A standing as STANDING has it. */
export function standingOf(bytes) {
  const number = (at) => new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0);
  const refused = textAt(bytes, 10) || undefined;
  const subject = textAt(bytes, 11 + bytes[10]) || undefined;
  const behind = bytes.slice(12 + bytes[10] + bytes[11 + bytes[10]]);
  return { level: bytes[0], wants: bytes[1], evidence: number(2), secs: number(6), refused, subject, behind };
}

export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

export const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

/** A device's key as a JWK: its required members alone, by their names (RFC 7638). */
export function jwkOf({ algorithm, spki }) {
  const part = (start, end) => base64url(spki.slice(start, end));
  const isEd = algorithm === "Ed25519";
  return isEd ? { crv: algorithm, kty: "OKP", x: part(12) } : { crv: algorithm, kty: "EC", x: part(27, 59), y: part(59) };
}

/** What names a device: the hash of the key that it was let in with; and what tokens have in `nonce` or `cnf.jkt` that are bound to it. */
export async function namesOf(device) {
  const { spki, first = spki } = device;
  const encode = (text) => new TextEncoder().encode(text);
  const hash = async (bytes) => base64url(await sha256(bytes));
  const bound = Uint8Array.of(...encode("duologue token\0"), ...spki);
  const jwk = encode(JSON.stringify(jwkOf(device)));
  const [key, nonce, jkt] = await Promise.all([first, bound, jwk].map(hash));
  return { key, nonce, jkt };
}

/** A promise with its two ends outside. */
export function deferred() {
  let settle;
  const promise = new Promise((resolve, reject) => (settle = { resolve, reject }));
  return { promise, ...settle };
}

/** What a promise comes to, if it does in time; else rejects. */
export function within(millis, promise) {
  let timer;
  const error = Object.assign(new Error(`There was no answer in ${millis / 1_000} s.`), { name: "TimeoutError" });
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(error), millis)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Values for iterators: those that wait, and those who wait for one. */
export class Queue {
  #values = [];
  #waiting = [];
  #end; // { error } or {}

  push(value) {
    const waiter = this.#waiting.shift();
    if (waiter) waiter.resolve({ value, done: false });
    else this.#values.push(value);
  }

  end(error) {
    if (this.#end) return;
    this.#end = { error };
    for (const waiter of this.#waiting.splice(0)) {
      if (error) waiter.reject(error);
      else waiter.resolve({ value: undefined, done: true });
    }
  }

  next() {
    if (this.#values.length > 0) return Promise.resolve({ value: this.#values.shift(), done: false });
    if (this.#end?.error) return Promise.reject(this.#end.error);
    if (this.#end) return Promise.resolve({ value: undefined, done: true });
    const waiter = deferred();
    this.#waiting.push(waiter);
    return waiter.promise;
  }

  get hungry() {
    return this.#waiting.length > 0;
  }
}
