/**
 * For a changed server key both fingerprints, and whether a person has compared the old one. Loaded when that has happened.
 */

import { compared, dayOf, say, sayPlain } from "./base.js";

const oldPin = document.getElementById("pin-old");
const newPin = document.getElementById("pin-new");
const vouchedFor = document.getElementById("pin-compared");

/** Shows the fingerprint that is pinned here beside the one that a link names. */
export function showPins(before, after) {
  showFingerprint(oldPin, before);
  showFingerprint(newPin, after);
  const vouched = compared();
  vouchedFor.hidden = vouched === undefined || vouched.fingerprint !== before;
  if (!vouchedFor.hidden) say(vouchedFor, "pin.compared", { day: dayOf(vouched.at) });
  document.getElementById("pin").hidden = false;
}

function showFingerprint(element, fingerprint) {
  if (fingerprint) sayPlain(element, fingerprint);
  else say(element, "pin.unread");
}
