/**
 * "Who is who": the two fingerprints, and forgetting this device.
 */

import { say, sayPlain } from "./say.js";

const server = document.getElementById("server-fingerprint");
const device = document.getElementById("device-fingerprint");
const algorithm = document.getElementById("device-algorithm");

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

/** `erase` closes the line and erases the key; it may fail. The question is loaded when it is to be asked. */
export function startForget(erase) {
  const forget = document.getElementById("forget");
  forget.addEventListener("click", () =>
    import("./forget.js").then(
      ({ ask }) => ask(erase),
      () => say(forget, "who.not-loaded"),
    ),
  );
}
