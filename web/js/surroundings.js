/**
 * What a line learns from the browser around it, and calls itself there.
 */

import { DuologueError } from "./errors.js";
import { LINE } from "./platform.js";
import { namesOf } from "./values.js";

/**
 * Calls `wake` when the device may have slept or its network may have changed, `rest` when the page is left and the browser keeps it, and
 * `leave` when it goes for good, until `ended`. With `snapshots` it may leave its session (snapshot.js).
 */
export function watchPage(wake, rest, leave, ended, snapshots) {
  const stop = new AbortController();
  const { signal } = stop;
  const visible = () => document.visibilityState === "visible" && wake();
  // A page that the browser may show again keeps its session for as long as the server does.
  const back = () => (snapshots?.back(), wake());
  const hidden = ({ persisted }) => snapshots?.leave(persisted) || (persisted ? rest : leave)();
  globalThis.document?.addEventListener("visibilitychange", visible, { signal });
  // A socket that died meanwhile says so a while later, if at all, and is open until then.
  globalThis.document?.addEventListener("resume", back, { signal });
  globalThis.document?.addEventListener("freeze", () => snapshots?.freeze(), { signal });
  globalThis.addEventListener?.("online", wake, { signal });
  globalThis.addEventListener?.("pageshow", back, { signal });
  globalThis.addEventListener?.("pagehide", hidden, { signal });
  ended.then(() => stop.abort());
}

/**
 * Can a shared worker outlive its pages here? Its constructor reads what it is asked before it looks at the address, which is none:
 * an argument, for Parcel (2.16) refuses to bundle a worker of a literal one.
 */
export function workersLast(nowhere = "http://[") {
  let last = false;
  const options = {
    get extendedLifetime() {
      return (last = true);
    },
  };
  try {
    new SharedWorker(nowhere, options);
  } catch {
    // As it must.
  }
  return last;
}

/** How soon behind its `error` a socket says `close`. */
const CLOSE_MILLIS = 100;

/**
 * Makes a socket and tells how it fails before it is open: `unopened()`, or `blocked(why)` if this page may not have it. Where
 * a policy forbids it, Chromium says `error` and never the `close` that the core waits for.
 */
export function watchSocket(make, url, { unopened = () => {}, blocked }) {
  let socket;
  try {
    socket = make();
  } catch (error) {
    queueMicrotask(() => blocked(error.message)); // the core is in the middle of it
    throw error;
  }
  let [isOpen, isClosed] = [false, false];
  const stop = new AbortController();
  const violated = ({ blockedURI, disposition, effectiveDirective }) => {
    if (disposition !== "enforce" || effectiveDirective !== "connect-src" || !url.startsWith(blockedURI)) return;
    stop.abort();
    blocked("");
  };
  globalThis.addEventListener?.("securitypolicyviolation", violated, { signal: stop.signal });
  socket.addEventListener("open", () => {
    isOpen = true;
    stop.abort();
  });
  socket.addEventListener("close", ({ code }) => {
    isClosed = true;
    setTimeout(() => stop.abort(), CLOSE_MILLIS);
    // 1006 is that of no close frame, and Deno's 0; Firefox may leave `open` out before any other.
    if (!isOpen && (code === 1006 || code === 0)) unopened();
  });
  const close = () => isClosed || socket.dispatchEvent?.(Object.assign(new Event("close"), { code: 1006 }));
  socket.addEventListener("error", () => setTimeout(close, CLOSE_MILLIS));
  return socket;
}

/** The address of a line: `ws:` and `wss:` as they are, `http:` and `https:` as theirs. */
export function lineUrl(url = LINE) {
  if (url === "/line" && !globalThis.location) throw new DuologueError("no-url");
  const line = new URL(url, globalThis.location?.href);
  line.protocol = line.protocol === "http:" || line.protocol === "ws:" ? "ws:" : "wss:";
  return line;
}

/** By what keys are kept: the host, with the path above the line where there is one, since a host may have several servers; and
 * behind a `#`, which neither has, the name of an account. */
export function placeOf(url, account) {
  const { host, pathname } = lineUrl(url);
  const place = host + pathname.slice(0, pathname.lastIndexOf("/"));
  return account == null ? place : `${place}#${account}`;
}

export const keyInfo = async (core, key) => Object.freeze({ key, fingerprint: await core.serverFingerprint(key) });

export async function deviceInfo(core, identity) {
  const [names, fingerprint] = await Promise.all([namesOf(identity), core.deviceFingerprint(identity.first ?? identity.spki)]);
  const proof = async (of) => (await import("./token.js")).proof(identity, of);
  return Object.freeze({ ...names, fingerprint, algorithm: identity.algorithm, proof });
}
