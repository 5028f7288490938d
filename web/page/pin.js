/**
 * For a changed server key both fingerprints, and whether a person has compared the old one. Loaded when that has happened.
 */

import { compared, dayOf, has, say, sayPlain } from "./base.js";

const oldPin = document.getElementById("pin-old");
const newPin = document.getElementById("pin-new");
const vouchedFor = document.getElementById("pin-compared");

/** Shows the fingerprint that is pinned here beside the one that an invite names. True if there is a key to compare, and so one to trust. */
export async function showPins(before, invite, { parseInvite }, isCurrent) {
  const named = invite && (await parseInvite(invite).catch(() => {})); // `connect` reports a broken one
  if (!isCurrent()) return false;
  const after = named?.fingerprint;
  showFingerprint(oldPin, before);
  showFingerprint(newPin, after);
  const vouched = compared();
  vouchedFor.hidden = vouched === undefined || vouched.fingerprint !== before;
  if (!vouchedFor.hidden) say(vouchedFor, "pin.compared", { day: dayOf(vouched.at) });
  document.getElementById("pin").hidden = false;
  return after !== undefined && has("pin.trust");
}

function showFingerprint(element, fingerprint) {
  if (fingerprint) sayPlain(element, fingerprint);
  else say(element, "pin.unread");
}
