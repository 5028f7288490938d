/**
 * "Who is who": the two fingerprints, and forgetting this device.
 */

import { explain } from "./cause.js";
import { say, sayPlain } from "./say.js";

const server = document.getElementById("server-fingerprint");
const device = document.getElementById("device-fingerprint");
const algorithm = document.getElementById("device-algorithm");
const forget = document.getElementById("forget");
const dialog = document.getElementById("forget-dialog");
const failure = document.getElementById("forget-failure");

/** Shows the identities of a link, or that there are none (`undefined`). */
export function showWho(link) {
  if (link?.server) sayPlain(server, link.server.fingerprint);
  else say(server, "who.none");
  if (link?.device) {
    sayPlain(device, link.device.fingerprint);
    say(algorithm, "who.algorithm", { algorithm: link.device.algorithm });
  } else {
    say(device, "who.none");
    sayPlain(algorithm, "");
  }
}

/** `erase` closes the line and erases the key; it may fail. */
export function startForget(erase) {
  forget.addEventListener("click", () => {
    failure.hidden = true;
    dialog.showModal();
  });
  document.getElementById("forget-no").addEventListener("click", () => dialog.close());
  document.getElementById("forget-yes").addEventListener("click", async () => {
    try {
      await erase();
      dialog.close();
    } catch (error) {
      say(failure, "forget.failed", { why: () => explain(error) });
      failure.hidden = false;
    }
  });
}
