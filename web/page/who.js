/**
 * "Who is who": the two fingerprints, whether a person has compared the server's, and forgetting this device.
 *
 * What is only wanted when somebody asks for it is loaded then: compare.js, pair.js, forget.js.
 */

import { compared, dayOf, setCompared } from "./compared.js";
import { say, sayPlain } from "./words/say.js";

const server = document.getElementById("server-fingerprint");
const device = document.getElementById("device-fingerprint");
const algorithm = document.getElementById("device-algorithm");
const trust = document.getElementById("compared");
const compare = document.getElementById("compare");
const panel = document.getElementById("compare-panel");
const pair = document.getElementById("pair");
const pairPanel = document.getElementById("pair-panel");
let shown; // the link whose keys are shown
let givesLinks = true; // the server, as far as it has told

/** Shows the identities of a link, or that there are none (`undefined`). */
export function showWho(link) {
  const known = link?.server && link.device ? link : undefined;
  if (link?.server) sayPlain(server, link.server.fingerprint);
  else say(server, "who.none");
  if (link?.device) {
    sayPlain(device, link.device.fingerprint);
    say(algorithm, "who.algorithm", { algorithm: link.device.algorithm });
  } else {
    say(device, "who.none");
    sayPlain(algorithm, "");
  }
  // Words of another key than the one beside them would be the very fraud that they are to show.
  if (known?.server.key !== shown?.server.key || known?.device.key !== shown?.device.key) closePanel();
  if (known !== shown) closePair();
  shown = known;
  compare.hidden = !known;
  showPair();
  showCompared(link?.server);
}

/** Whether the server gives devices links for further ones: nothing is offered that it refuses. */
export function pairServed(is) {
  givesLinks = is;
  showPair();
}

function showPair() {
  pair.hidden = !givesLinks || !shown || shown.state === "closed" || shown.state === "connecting";
  if (pair.hidden) closePair();
}

/** Whether somebody has vouched for this key. */
function showCompared(key) {
  trust.hidden = !key;
  if (!key) return;
  const before = compared();
  const status = !before ? "none" : before.key === key.key ? "same" : "changed";
  if (trust.dataset.compared === status && trust.dataset.key === key.key) return; // not read out again
  trust.dataset.compared = status;
  trust.dataset.key = key.key;
  say(trust, `compared.${status}`, before && { day: dayOf(before.at), fingerprint: before.fingerprint });
}

function closePanel() {
  panel.hidden = true;
  compare.setAttribute("aria-expanded", "false");
  say(compare, "compare.open");
}

compare.addEventListener("click", async () => {
  if (!panel.hidden) {
    closePanel();
    return;
  }
  try {
    const { open } = await import("./compare.js");
    if (!shown) return;
    open(shown, (isKept) => {
      if (isKept) {
        showCompared(shown.server);
        closePanel();
      } else {
        say(trust, "compared.not-kept");
      }
      compare.focus(); // the button that was pressed has gone
    });
    compare.setAttribute("aria-expanded", "true");
    say(compare, "compare.close");
  } catch {
    say(compare, "who.not-loaded");
  }
});

/** What was shown there is a secret: it goes. */
function closePair() {
  pairPanel.hidden = true;
  pairPanel.replaceChildren();
  pair.setAttribute("aria-expanded", "false");
  say(pair, "pair.open");
}

pair.addEventListener("click", async () => {
  if (!pairPanel.hidden) {
    closePair();
    return;
  }
  try {
    const { open } = await import("./pair.js");
    if (!shown || !pairPanel.hidden) return;
    pair.setAttribute("aria-expanded", "true");
    say(pair, "pair.close");
    await open(shown);
  } catch {
    say(pair, "who.not-loaded");
  }
});

/** `erase` closes the line and erases the key; it may fail. What asks is returned; it is loaded when it is to be asked. */
export function startForget(erase) {
  const forget = document.getElementById("forget");
  const forgetAll = async () => {
    await erase();
    setCompared(undefined);
  };
  const ask = () =>
    import("./forget.js").then(
      ({ ask }) => ask(forgetAll),
      () => say(forget, "who.not-loaded"),
    );
  forget.addEventListener("click", ask);
  return ask;
}
