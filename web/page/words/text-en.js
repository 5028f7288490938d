/**
 * The words of text.js in English: about the line itself (its states, why it ended, what may be done), then about what is
 * done on the page, from top to bottom. text-fr.js has the same keys in the same order; a page loads one of the two.
 */

export const WORDS = {
  "page.title": "Duologue: a private line",
  "page.tagline": "a line between two",
  "page.language": "Language",
  "page.skip": "Skip to the conversation",

  "line.you": "You, in this browser",
  "line.between": "on the way: sealed records only",

  "state.connecting": "Opening the line…",
  "state.open": "The line is open",
  "state.resuming": "Picking the line up again…",
  "state.draining": "The server is about to stop",
  "state.closed": "The line is closed",
  "detail.connecting": "Agreeing on fresh keys with {host}.",
  "detail.open": "Sealed here, opened at {host}, and nowhere in between.",
  "detail.resuming": "The connection was interrupted. What you send waits for it, and says whether it has arrived.",
  "detail.draining": "What is under way is still being delivered. Then this page calls again until {host} is back.",
  "detail.closed": "Nothing passes until it is opened again.",

  // Why a line ended (`cause.<code>`) and what to do about it (`do.<code>`): what may be told without a network. The rest: text-cause.js.
  "cause.timeout": "The server did not answer in time.",
  "do.timeout": "Check your network and try again.",
  "cause.unreachable": "The server cannot be reached.",
  "do.unreachable":
    "It may be stopped, or your network or a proxy does not let WebSockets through. Try again in a moment.",
  "cause.offline": "You are offline.",
  "do.offline":
    "This page was kept in your browser, and what you type stays here. The line opens again when there is a network.",
  "cause.not-loaded": "A part of this page could not be loaded or started.",
  "do.not-loaded": "Reload the page. It needs a current browser with WebAssembly.",
  "do.unknown": "You can try to connect again.",

  "action.reconnect": "Reconnect",

  "who.title": "Who is who",
  "who.server": "The server",
  "who.device": "This device",
  "who.algorithm": "{algorithm} key, not readable by JavaScript",
  "who.none": "not known yet",
  "who.hint":
    "Compare the server’s fingerprint with `duologue keys show`, or with the line in the server’s terminal. The same there and here: nobody stands in between.",
  "compare.open": "Compare aloud…",
  "compare.close": "Done comparing",
  "compared.none": "○ nobody has compared this key yet",
  "compared.same": "✓ you compared this key on {day}",
  "compared.changed":
    "This is NOT the key that you compared on {day}. That one was {fingerprint}. Compare again before you write anything private.",
  "compared.not-kept": "This browser could not remember it.",
  "devices.title": "Your devices",
  "pair.open": "Add or remove a device…",
  "pair.close": "Hide",
  "who.not-loaded": "A part of this page could not be loaded: reload it.",
  "forget.open": "Forget this device…",

  "desk.title": "At the desk",
  "desk.log": "Conversation",
  "desk.input": "Your message",
  "desk.keys": "Enter sends, Shift + Enter starts a new line",
  "desk.send": "Send",

  "seal.title": "The letter and the envelope",
};
