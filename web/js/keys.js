/**
 * Which of a server's keys is the newest, as its owner has signed it (PROTOCOL.md, section 11). Loaded only where a server has an
 * owner's key.
 *
 *   known: { serverKey: the one that has worked last,
 *            keys: { owner, number: the highest, next?: signed, and not worked yet, past: those of before, at: when it was here } }
 *
 * The owner's key is the one of which this browser has heard first. What is not signed by it changes nothing.
 */

import { base64url, within } from "./values.js";

const CURVE = { name: "ECDSA", namedCurve: "P-256" };
const CONTEXT = new TextEncoder().encode("duologue/1 server-key\0");
/** Keys of before that are remembered. */
const PAST_MAX = 8;
/** After so long away it is asked what is published, before anything is dialled. */
const AWAY_MILLIS = 24 * 60 * 60 * 1_000;
/** How long that may take. */
const PUBLISHED_MILLIS = 4_000;
/** The highest number: what is signed has four bytes of it, and one beyond would be read as another. */
const NUMBER_MAX = 0xffffffff;

const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
const isOurs = ({ serverKey, keys }, key) => [serverKey, keys?.next, ...(keys?.past ?? [])].includes(key);

async function isSigned({ owner, number, key, signature }) {
  try {
    const [point, signed] = [Uint8Array.of(4, ...bytesOf(owner)), bytesOf(signature)];
    const message = Uint8Array.of(...CONTEXT, number >>> 24, number >>> 16, number >>> 8, number, ...bytesOf(key));
    const imported = await crypto.subtle.importKey("raw", point, CURVE, false, ["verify"]);
    return await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, imported, signed, message);
  } catch {
    return false; // it is no key, or no text that has one
  }
}

/** What is known with what an owner has signed; undefined if that changes nothing. */
async function learned(known, told, hasWorked) {
  const { serverKey, keys } = known;
  const isHis = !keys || (keys.owner === told.owner && (told.number > keys.number || (told.number === keys.number && isOurs(known, told.key))));
  if (!isHis || !(await isSigned(told))) return undefined;
  const { owner, number, key } = told;
  const past = keys?.past ?? [];
  if (key === serverKey) return { serverKey, keys: { owner, number, past, at: Date.now() } };
  if (!hasWorked) return { serverKey, keys: { owner, number, next: key, past, at: Date.now() } };
  const before = [...past.filter((one) => one !== serverKey), serverKey].slice(-PAST_MAX);
  return { serverKey: key, keys: { owner, number, past: before, at: Date.now() } };
}

/** The same with what AUTH_OK tells behind the standing; and what the line is to be told of it. */
export async function follow(known, bytes) {
  const number = (at) => new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0);
  const part = (from, to) => base64url(bytes.subarray(from, to));
  const told = { owner: part(0, 64), number: number(64), key: part(68, 100), signature: part(100, 164) };
  const hasWorked = number(164) === told.number;
  const now = await learned(known, told, hasWorked);
  return now && { now, key: told.key, hasWorked };
}

/** What the server publishes beside its line; undefined if nothing is there. */
async function published(line) {
  const url = new URL(".well-known/duologue-keys", line);
  url.protocol = url.protocol.replace("ws", "http");
  const answer = await within(PUBLISHED_MILLIS, fetch(url, { cache: "no-store", credentials: "omit" }));
  if (!answer.ok) return undefined;
  const { owner, number, key, signature } = await within(PUBLISHED_MILLIS, answer.json());
  if (!Number.isInteger(number) || number < 1 || number > NUMBER_MAX) return undefined;
  // Each as it is always written, so that it is found among those of before.
  return { owner: base64url(bytesOf(owner)), number, key: base64url(bytesOf(key)), signature };
}

/** The key to dial for, and what is known then. `named` are keys that a link or the application names. */
export async function pinned(line, known, named) {
  const strange = () => named.find((key) => key !== undefined && !isOurs(known, key));
  if (strange() !== undefined || Date.now() - known.keys.at > AWAY_MILLIS) {
    const now = await published(line).then((told) => told && learned(known, told, false)).catch(() => {});
    known = { ...known, ...now };
  }
  return { known, strange: strange() };
}
