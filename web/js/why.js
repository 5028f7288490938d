/**
 * Why a line cannot be, in words: causes that are rare, and what they are found by. Loaded when a link ends with one of them.
 */

const SENTENCES = {
  "insecure-context": "Browsers keep keys for secure pages only: open this page over https.",
  "no-store": "There is no IndexedDB here to keep a device key in: give connect an identity.",
  "no-websocket": "There is no WebSocket here: give connect one.",
  "no-url": "Where there is no page, connect needs a url.",
  "pin-changed": "The link names another server key than the one that is pinned here.",
  "no-identity": "This browser has no key for this server: ask its owner for an invite link.",
  "identity-lost": "This browser has lost its device key: ask the server's owner for a new invite link.",
};

/** A cause as it is to be told: { code, message }. */
export async function explain({ code, message }) {
  return { code, message: message || SENTENCES[code] || code };
}
