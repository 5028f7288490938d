/**
 * A new device key, which cannot be exported: loaded by identity.js where there is none yet.
 */

import { browserName } from "../name.js";

const make = (algorithm) => crypto.subtle.generateKey(algorithm, false, ["sign", "verify"]);
const ed25519 = () => make({ name: "Ed25519" });

/** Ed25519 where the browser has it, else ECDSA over P-256. WebKitGTK's generation fails now and then: it is tried once more. */
export async function generate() {
  let algorithm = "Ed25519";
  const keys = await ed25519().catch(ed25519).catch(() => {
    algorithm = "P-256";
    return make({ name: "ECDSA", namedCurve: "P-256" });
  });
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  return { keys, algorithm, spki, name: browserName() };
}
