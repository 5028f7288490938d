/**
 * Which server key the person has compared with the server's owner, and when: remembered in this browser, by host.
 *
 * The pin says which key the line demands; this says that a person has vouched for it. A key that takes the pin's place
 * does not inherit that, and the page says so loudly.
 */

import { locale } from "./words/say.js";

const NAME = `duologue-compared:${location.host}`;

/** `{ key, fingerprint, at }` of the last comparison; undefined if there was none. */
export function compared() {
  try {
    const { key, fingerprint, at } = JSON.parse(localStorage.getItem(NAME));
    return typeof key === "string" && Number.isFinite(at) ? { key, fingerprint: String(fingerprint), at } : undefined;
  } catch {
    return undefined;
  }
}

/** Remembers that this server key was compared now; without one, forgets. False if the browser keeps nothing. */
export function setCompared(server) {
  try {
    if (server) localStorage.setItem(NAME, JSON.stringify({ key: server.key, fingerprint: server.fingerprint, at: Date.now() }));
    else localStorage.removeItem(NAME);
    return true;
  } catch {
    return false;
  }
}

/** The day of a comparison, in the person's language. */
export const dayOf = (at) => () => new Intl.DateTimeFormat(locale(), { dateStyle: "long" }).format(at);
