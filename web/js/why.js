/**
 * Why a line cannot be, in words: causes that are rare, and what they are found by. Loaded when a link ends with one of them.
 */

import { wrap } from "./errors.js";
import { addressSpace, answers, permissionFor } from "./probe.js";

/** What is told of each, with what the browser has said, if it has said something. */
const SENTENCES = {
  "insecure-context": () => "Browsers keep keys for secure pages only: open this page over https.",
  "no-store": () => "There is no IndexedDB here to keep a device key in: give connect an identity.",
  "no-websocket": () => "There is no WebSocket here: give connect one.",
  "no-url": () => "Where there is no page, connect needs a url.",
  "pin-changed": () => "The link names another server key than the one that is pinned here.",
  "no-identity": () => "This browser has no key for this server: ask its owner for an invite link.",
  "identity-lost": () => "This browser has lost its device key: ask the server's owner for a new invite link.",
  "no-wasm": (said) =>
    `This browser runs no WebAssembly, or only that of years ago: use a current one, or turn it on.${quoted(said)}`,
  "wasm-blocked": () =>
    "This page's policy forbids WebAssembly: add 'wasm-unsafe-eval' to script-src of its Content-Security-Policy.",
  "not-loaded": (said) => `A part of this page cannot be loaded: reload it when its server can be reached.${quoted(said)}`,
  "store-refused": (said) =>
    `This browser lets the page keep no device key: allow it to store data, and leave private mode.${quoted(said)}`,
  "store-full": (said) => `There is no room to keep a device key: free some of this device's storage.${quoted(said)}`,
  "store-broken": (said) =>
    `What this browser keeps for this page is damaged, or of a newer version: clear this site's data, and ask for a new invite link.${quoted(said)}`,
  "store-stuck": (said) =>
    `What this browser keeps for this page cannot be read: close other tabs of it, or start the browser again.${quoted(said)}`,
  "blocked-by-policy": (said, { url } = {}) =>
    said
      ? `The browser lets this page open no WebSocket to ${url?.origin}.${quoted(said)}`
      : `This page's policy forbids its line: add ${url?.origin} to connect-src of its Content-Security-Policy.`,
};

const quoted = (said) => (said ? ` (${said})` : "");

/** What an error is: { code, message }, the latter as the browser has it. */
export function causeOf(error) {
  const { of, name, message } = error;
  if (of === "module") {
    const isOld = error instanceof (globalThis.WebAssembly?.CompileError ?? Error);
    const code = isForbidden() ? "wasm-blocked" : isOld ? "no-wasm" : "not-loaded";
    return { code, message };
  }
  if (of === "store") {
    const [isFull, isStuck] = [name === "QuotaExceededError", name === "TimeoutError"];
    const isBroken = /^(NotFound|Version|Data)Error$/.test(name);
    const code = isFull ? "store-full" : isStuck ? "store-stuck" : isBroken ? "store-broken" : "store-refused";
    return { code, message };
  }
  return wrap(error);
}

/** Whether the policy of this context lets no module be made, however small. */
function isForbidden() {
  try {
    const module = globalThis.WebAssembly && new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
    return module && !new WebAssembly.Instance(module); // WebKit forbids only this
  } catch {
    return true;
  }
}

/** An error as it is to be told: { code, message }. `where` is the line: { url }. */
export async function explain(error, where) {
  const { code, message } = causeOf(error);
  if (code === "unreachable" && where) return unreachable(message, where.url);
  return { code, message: Object.hasOwn(SENTENCES, code) ? SENTENCES[code](message, where) : message };
}

/** The browser says the same of all that follows. */
async function unreachable(message, url) {
  const code = "unreachable";
  const isPage = globalThis.document !== undefined;
  const permission = await permissionFor(url);
  if (permission === "denied") {
    const sentence = `This browser does not let this page reach ${url.host}, which is in your own network: allow it in the page's settings, beside its address, and connect again.`;
    return { code: "local-network-denied", message: sentence };
  }
  if (await answers(url)) {
    const sentence = `The server at ${url.host} answers, but opens no WebSocket: it may be full or not let this page in, or something on the way does not pass WebSockets.`;
    return { code: "upgrade-refused", message: sentence };
  }
  if (!isPage || addressSpace(url.hostname) === undefined) return { code, message };
  const page = `https://${url.host}/`;
  const asked = permission === "prompt" ? " Allow this page to reach your own network when the browser asks for it." : "";
  const sentence = `${url.host} cannot be reached.${asked} If its server runs, this browser does not trust its certificate yet: open ${page} in a tab, accept the certificate there, and load this page again.`;
  return { code, message: sentence };
}
