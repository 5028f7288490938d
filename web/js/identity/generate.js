/**
 * A new device key, which cannot be exported: loaded by identity.js where there is none yet.
 */

import { browserName } from "../name.js";

/** Ed25519 where the browser has it, else ECDSA over P-256. */
export async function generate() {
  let keys;
  let algorithm = "Ed25519";
  try {
    keys = await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]);
  } catch {
    algorithm = "P-256";
    keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
  }
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  return { keys, algorithm, spki, name: browserName() };
}
