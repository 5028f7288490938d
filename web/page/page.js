/**
 * The page: one line to the server that delivered it.
 *
 *   invite out of the address bar ─► connect ─► state, identities, cause ─► desk, echo, files, sealed records
 *
 * This file holds the life of the line only: which link is current, what its end means, what may be done next.
 * It asks nothing of the library that duologue.d.ts does not promise, and never looks into a record.
 */

import { closeFiles, filesState, forgetFiles, openFiles } from "./attach.js";
import { causeWords, hideCause, showCause } from "./cause.js";
import { closeDesk, deskState, forgetDraft, openDesk, renewDesk } from "./desk.js";
import { pulseState, startPulse } from "./pulse.js";
import { say, sayPlain, startLanguage } from "./say.js";
import { SHOWN_BYTES, crossed } from "./sealed.js";
import { showWho, startForget } from "./who.js";

// First of all, and before anything is awaited: the secret leaves the address bar and the history entry.
let invite = takeInvite();

const INVITE_CODES = new Set(["bad-invite", "invite-used", "invite-expired", "invite-unknown"]);
/** Connecting again would end the same way until an invite comes, or the page is reloaded. */
const FINAL_CODES = new Set(["no-identity", "identity-lost", "not-enrolled", "device-revoked", "forgotten", "not-loaded"]);

const root = document.documentElement;
const stateWords = document.getElementById("state");
const detail = document.getElementById("detail");
const reconnect = document.getElementById("reconnect");
const trust = document.getElementById("trust-new-key");
const development = document.querySelector('meta[name="duologue-mode"]').content === "dev";
let duologue; // the library, loaded below
let worker; // the script of the line's, where faults can be done to it
let link; // the current one; events of any other are ignored

function takeInvite() {
  const href = location.href;
  if (!/^#(?:.*&)?i=/.test(location.hash)) return undefined;
  history.replaceState(history.state, "", location.pathname + location.search);
  return href;
}

function showState(state) {
  root.dataset.state = state;
  if (state === "waiting") causeWords(state); // it is a rare one
  say(stateWords, `state.${state}`);
  say(detail, `detail.${state}`, { host: location.host });
  deskState(state);
  pulseState(state);
  filesState(state);
}

function start(replacePin = false) {
  link?.close();
  hideCause();
  reconnect.hidden = true;
  trust.hidden = true;
  closeDesk();
  closeFiles();
  showState("connecting");
  const opened = (() => {
    try {
      const observe = { observe: crossed, observeBytes: SHOWN_BYTES };
      return duologue.connect({ invite: invite ?? location.href, replacePin, worker: worker ?? "shared", ...observe });
    } catch (error) {
      link = undefined;
      ended({ code: error.code ?? "not-loaded", reason: error.message, byPeer: false });
      return undefined;
    }
  })();
  if (!opened) return;
  link = opened;
  if (development) globalThis.link = link;
  showState(link.state);
  showWho(link);
  link.addEventListener("statechange", () => {
    if (link !== opened) return;
    showState(opened.state);
    showWho(opened);
  });
  opened.addEventListener("fresh", (event) => link === opened && renewDesk(event.detail));
  opened.ready.then(
    () => {
      if (link !== opened) return;
      invite = undefined; // it has done its work
      showWho(opened);
      openDesk(opened);
      openFiles(opened);
      // Only now: it must not take the line's place on the way. Without it the page needs a network to open, that is all.
      navigator.serviceWorker?.register("/page/offline.js", { scope: "/" }).catch(() => {});
    },
    () => {}, // `closed` tells the cause
  );
  opened.closed.then((info) => link === opened && ended(info));
}

async function ended(how) {
  const info = how.code === "unreachable" && !navigator.onLine ? { ...how, code: "offline" } : how;
  const endedLink = link;
  showState("closed");
  showWho(endedLink);
  closeDesk();
  closeFiles();
  await worded; // a cause without a sentence is told otherwise
  await causeWords(info.code);
  if (link !== endedLink) return;
  showCause(info);

  if (info.code === "pin-changed") {
    const named = await readInvite(invite);
    if (link !== endedLink) return;
    showCause(info, { before: endedLink?.server?.fingerprint, after: named?.fingerprint });
    trust.hidden = named === undefined; // no key to compare, none to trust
    offer("action.keep-pin");
  } else if (INVITE_CODES.has(info.code)) {
    invite = undefined;
    const known = await duologue.hasIdentity().catch(() => false);
    if (link === endedLink && known) offer("action.without-invite");
  } else if (!FINAL_CODES.has(info.code)) {
    offer("action.reconnect");
  }
}

function offer(key) {
  say(reconnect, key);
  reconnect.hidden = false;
}

async function readInvite(href) {
  try {
    return href && (await duologue.parseInvite(href));
  } catch {
    return undefined; // `connect` reports a broken invite
  }
}

reconnect.addEventListener("click", () => {
  if (root.dataset.code === "pin-changed") invite = undefined;
  start();
});
trust.addEventListener("click", () => start(true));

// Without a network nothing could be dialled; now it can.
addEventListener("online", () => root.dataset.code === "offline" && start());

// An invite link opened in the tab that is already here changes only the fragment: no load, but a new beginning.
addEventListener("hashchange", () => {
  const taken = takeInvite();
  if (!taken) return;
  invite = taken;
  if (duologue) start();
});

startForget(async () => {
  await duologue.forgetIdentity(); // first: if it fails, nothing has changed
  await forgetFiles();
  forgetDraft();
  const old = link;
  link = undefined;
  invite = undefined;
  old?.close();
  ended({ code: "forgotten", reason: "", byPeer: false });
});
startPulse(() => (link && link.state !== "closed" ? link : undefined));
if (development) {
  worker = new URL("./breakable.js", import.meta.url);
  import("./break.js").then(({ offerFaults }) => offerFaults(() => link));
}
const worded = startLanguage({ host: location.host });
sayPlain(document.getElementById("host"), location.host);
showState("connecting");
showWho(undefined);

try {
  duologue = await import("../duologue.js");
  start();
} catch (error) {
  ended({ code: "not-loaded", reason: String(error), byPeer: false });
}
