/**
 * What a page can find out about a server that no socket reaches: loaded when it has to.
 *
 *   does it answer a plain request?   is it near, where certificates are mostly made by hand?   may this page go there?
 *
 * Chromium asks the person before a page of the Internet reaches a device of their own network (Local Network Access). A
 * socket alone makes it ask nothing everywhere, a `fetch` does: of `/.well-known/duologue`, which has no content.
 */

import { within } from "./values.js";

/** How long a server may take to answer, to count as one that can be reached. */
const ANSWER_MILLIS = 5_000;
/** How long a person may take to answer their browser. */
const PERSON_MILLIS = 60_000;
/** What the permission is called, by where the server is; the last name is the older one of both. */
const NAMES = {
  loopback: ["loopback-network", "local-network-access"],
  local: ["local-network", "local-network-access"],
};

/** Where a host is, if its name shows that it is near: on this machine or in this network. */
export function addressSpace(hostname) {
  const name = hostname.replace(/^\[|\]$/g, "");
  if (/^(.+\.)?localhost$|^127\.|^::1$/.test(name)) return "loopback";
  const isPrivate = /^10\.|^192\.168\.|^172\.(1[6-9]|2\d|3[01])\.|^169\.254\.|^f[cd][\da-f]{2}:|^fe[89ab][\da-f]:/.test(name);
  return isPrivate || /\.(local|lan|home|internal|home\.arpa)$|^[^.:]+$/.test(name) ? "local" : undefined;
}

/** An address of the line's own listener, for a plain request. */
function plain(line, path = line.pathname) {
  const url = new URL(path, line);
  url.protocol = line.protocol === "ws:" ? "http:" : "https:";
  return url.href;
}

/** Whether a page can reach what a socket could not. Any answer will do, also one that nobody may read. */
export async function answers(line) {
  // Of another origin it must follow redirections, or browsers refuse it.
  const options = { mode: "no-cors", credentials: "omit", cache: "no-store" };
  try {
    await fetch(plain(line), { ...options, signal: AbortSignal.timeout(ANSWER_MILLIS) });
    return true;
  } catch {
    return false;
  }
}

/** What the person has said of pages of this site that go there; undefined where nobody is asked. */
async function permission(space) {
  // A page that comes from near itself needs none.
  const own = globalThis.location?.hostname;
  if (space === undefined || own === undefined || addressSpace(own) !== undefined) return undefined;
  for (const name of NAMES[space]) {
    const status = await navigator.permissions?.query({ name }).catch(() => undefined);
    if (status) return status;
  }
  return undefined;
}

/** What the person has said: `granted`, `denied`, or `prompt` if nothing; undefined where nobody is asked. */
export const permissionFor = async (line) => (await permission(addressSpace(line.hostname)))?.state;

/** Has the browser ask the person, if it has not, and waits for what they say. `tell` is told before, and what it is for. */
export async function permit(line, tell) {
  const space = addressSpace(line.hostname);
  const status = await permission(space);
  if (status?.state !== "prompt") return;
  const where = space === "loopback" ? "this device" : "your own network";
  const { host } = globalThis.location;
  tell({ name: status.name, reason: `The page of ${host} wants to reach ${line.host}, on ${where}: its line leads there.` });
  const options = { mode: "cors", credentials: "omit", cache: "no-store", targetAddressSpace: space };
  await within(PERSON_MILLIS, fetch(plain(line, ".well-known/duologue"), options)).catch(() => {}); // the socket will tell
}
