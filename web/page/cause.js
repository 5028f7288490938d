/**
 * Why a line ended, in words: one sentence for the cause, one for what to do, and for a changed server key both
 * fingerprints. The code is mirrored in `document.documentElement.dataset.code`.
 */

import { compared, dayOf } from "./compared.js";
import { has, say, sayPlain, words } from "./say.js";

const REASON_CHARS = 500; // a peer's own words, shown as text only
const LOUD = new Set(["pin-changed", "altered", "not-your-server"]);
const CALM = new Set(["normal", "going-away", "replaced", "forgotten", "offline"]);

const root = document.documentElement;
const box = document.getElementById("ending");
const what = document.getElementById("cause-what");
const remedy = document.getElementById("cause-do");
const code = document.getElementById("cause-code");
const pin = document.getElementById("pin");
const oldPin = document.getElementById("pin-old");
const pinCompared = document.getElementById("pin-compared");
const newPin = document.getElementById("pin-new");

/** The sentence of an error in the person's language, else its own English one. */
export function explain(error) {
  if (has(`reset.${error?.code}`)) return words(`reset.${error.code}`);
  if (has(`fresh.${error?.code}`)) return words(`fresh.${error.code}`);
  if (has(`cause.${error?.code}`)) return words(`cause.${error.code}`);
  return String(error?.message || error?.reason || error).slice(0, REASON_CHARS);
}

/** Shows how a line ended. `pins` (for `pin-changed`) holds the fingerprints before and after. */
export function showCause(info, pins) {
  root.dataset.code = info.code;
  box.dataset.tone = LOUD.has(info.code) ? "loud" : CALM.has(info.code) ? "calm" : "plain";
  box.hidden = false;
  sayPlain(code, info.code);
  if (has(`cause.${info.code}`)) {
    what.removeAttribute("lang");
    say(what, `cause.${info.code}`);
    say(remedy, `do.${info.code}`, { origin: location.origin });
  } else {
    what.lang = "en";
    sayPlain(what, explain(info));
    say(remedy, "do.unknown");
  }
  pin.hidden = !pins;
  if (!pins) return;
  showFingerprint(oldPin, pins.before);
  showFingerprint(newPin, pins.after);
  const vouched = compared();
  pinCompared.hidden = vouched === undefined || vouched.fingerprint !== pins.before;
  if (!pinCompared.hidden) say(pinCompared, "pin.compared", { day: dayOf(vouched.at) });
}

export function hideCause() {
  delete root.dataset.code;
  box.hidden = true;
  pin.hidden = true;
  sayPlain(what, "");
  sayPlain(remedy, "");
}

function showFingerprint(element, fingerprint) {
  if (fingerprint) sayPlain(element, fingerprint);
  else say(element, "pin.unread");
}
