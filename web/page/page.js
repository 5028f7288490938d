/**
 * The page: one line to the server that delivered it.
 *
 *   invite out of the address bar ─► connect ─► state, identities, cause ─► desk, and what else the server serves
 *
 * This file holds the life of the line only: which link is current, what its end means, what may be done next. What the
 * start does not need is loaded when it is wanted.
 * It asks nothing of the library that duologue.d.ts does not promise, and never looks into a record.
 */

import { causeWords, crossed, has, hideCause, say, sayPlain, showCause, SHOWN_BYTES, startLanguage } from "./base.js";
import { pairServed, showWho, startForget } from "./who.js";

// First of all, and before anything is awaited: the secret leaves the address bar and the history entry.
let invite = takeInvite();

const INVITE_CODES = new Set(["bad-invite", "invite-used", "invite-expired", "invite-unknown"]);
/** Connecting again would end the same way until an invite comes, or the page is reloaded. */
const FINAL_CODES = new Set([
  ...["no-identity", "identity-lost", "not-enrolled", "device-revoked", "forgotten", "not-loaded"],
  ...["origin-refused", "host-mismatch"],
]);
/** Who is not let in sees the cause and what helps: nothing else here would work. */
const LINK_HELPS = new Set([...INVITE_CODES, "no-identity", "identity-lost", "not-enrolled", "forgotten"]);
const SHUT_CODES = new Set([...LINK_HELPS, "device-revoked", "origin-refused", "host-mismatch"]);
/** Of which nothing is left that a conversation could belong to. */
const KEYLESS_CODES = new Set(["no-identity", "identity-lost", "forgotten"]);

const UPLOADS = "duologue-uploads";

const root = document.documentElement;
const stateWords = document.getElementById("state");
const detail = document.getElementById("detail");
const reconnect = document.getElementById("reconnect");
const trust = document.getElementById("trust-new-key");
const help = document.getElementById("help");
const altered = document.getElementById("altered");
const development = document.querySelector('meta[name="duologue-mode"]').content === "dev";
let duologue; // the library, loaded below
let worker; // the script of the line's, where faults can be done to it
const parts = {}; // of the page, those that are loaded when they are wanted: by name
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
  parts.desk?.deskState(state);
  parts.echo?.echoState(state);
  parts.files?.filesState(state);
  parts.break?.breakState(state);
}

const serves = (label) => link?.services?.includes(label) ?? true;

/** What the server serves is shown, and nothing else. One that does not tell may serve all of it. */
function offer() {
  const opened = link;
  part("foot").then((foot) => foot?.tellWay(opened, () => link === opened));
  pairServed(serves("pair"));
  for (const [name, label] of [["desk", "desk"], ["files", "drop"], ["echo", "echo"], ["present", "passkeys"], ["owner", "owner"]]) {
    if (serves(label)) part(name).then((module) => module?.served(serves(label)));
    else if (parts[name]) parts[name].served(false);
    else document.getElementById(name).hidden = true;
  }
}

/** A part of the page that is loaded when it is wanted. Undefined if it cannot be had now; the next time it is asked for again. */
async function part(name) {
  const [load, begin] = LATER[name];
  const module = parts[name] ?? (await load().catch(() => {}));
  if (module && !parts[name]) {
    parts[name] = module;
    begin(module);
  }
  return module;
}

const LATER = {
  desk: [
    () => import("./desk.js"),
    (desk) => {
      desk.deskState(root.dataset.state);
      if (link?.server && link.device) desk.ownConversation(link);
      if (!isOpen()) return;
      desk.served(serves("desk"));
      desk.openDesk(link);
    },
  ],
  files: [
    () => import("./attach.js"),
    (files) => {
      files.filesState(root.dataset.state);
      if (isOpen()) files.openFiles(link);
      if (isKept("localStorage", UPLOADS)) files.restoreFiles();
    },
  ],
  echo: [
    () => import("./echo.js"),
    (echo) => {
      echo.echoState(root.dataset.state);
      echo.startEcho(() => (isOpen() ? link : undefined));
    },
  ],
  present: [() => import("./present.js"), (present) => present.startPresent(() => (isOpen() ? link : undefined), offer)],
  owner: [() => import("./owner.js"), (owner) => owner.startOwner(() => (isOpen() ? link : undefined))],
  foot: [() => import("./foot.js"), () => {}],
  break: [
    () => import("./break.js"),
    (breaking) => {
      breaking.offerFaults(() => link);
      breaking.breakState(root.dataset.state);
    },
  ],
};

/** The line was open at least once, and has not ended. */
const isOpen = () => link && !["connecting", "waiting", "closed"].includes(link.state);

function start(replacePin = false) {
  link?.close();
  hideCause();
  help.replaceChildren();
  altered.replaceChildren();
  delete root.dataset.shut;
  reconnect.hidden = true;
  trust.hidden = true;
  parts.desk?.closeDesk();
  parts.files?.closeFiles();
  showState("connecting");
  const opened = (() => {
    try {
      const observe = { observe: crossed, observeBytes: SHOWN_BYTES };
      return duologue.connect({ invite: invite ?? location.href, replacePin, worker: worker ?? "shared", lasting: true, ...observe });
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
    if (opened.state === "open") offer(); // a server that was started again may serve something else
    showState(opened.state);
    showKeys(opened);
  });
  opened.addEventListener("fresh", (event) => link === opened && parts.desk?.renewDesk(event.detail));
  opened.addEventListener("altered", () => link === opened && tellAltered(opened));
  opened.ready.then(
    () => {
      if (link !== opened) return;
      invite = undefined; // it has done its work
      showKeys(opened);
      parts.desk?.openDesk(opened);
      parts.files?.openFiles(opened);
      // Only now: it must not take the line's place on the way. Without it the page needs a network to open, that is all.
      navigator.serviceWorker?.register("page/offline.js", { scope: "./" }).catch(() => {});
    },
    () => {}, // `closed` tells the cause
  );
  opened.closed.then((info) => link === opened && ended(info));
}

function showKeys(of) {
  showWho(of);
  if (of?.server && of.device) parts.desk?.ownConversation(of);
}

async function tellAltered(opened) {
  const { showAltered } = await import("./altered.js");
  if (link === opened && opened.altered) showAltered(opened.altered);
}

async function ended(how) {
  const info = how.code === "unreachable" && !navigator.onLine ? { ...how, code: "offline" } : how;
  const endedLink = link;
  showState("closed");
  showKeys(endedLink);
  parts.desk?.closeDesk();
  parts.files?.closeFiles();
  if (SHUT_CODES.has(info.code)) root.dataset.shut = "";
  if (!SHUT_CODES.has(info.code)) {
    part("desk"); // what was typed before stays, and can be added to
    part("foot");
  } else if (KEYLESS_CODES.has(info.code) && hasConversation()) part("desk").then((desk) => desk?.forgetConversation());
  await worded; // a cause without a sentence is told otherwise
  await causeWords(info.code);
  if (link !== endedLink) return;
  showCause(info);
  if (SHUT_CODES.has(info.code)) offerHelp(info, endedLink);

  if (info.code === "pin-changed") {
    const pin = await import("./pin.js").catch(() => {});
    const isCurrent = () => link === endedLink;
    const mayTrust = await pin?.showPins(endedLink?.server?.fingerprint, invite, duologue, isCurrent);
    if (!isCurrent()) return;
    trust.hidden = !mayTrust;
    offerAgain("action.keep-pin");
  } else if (INVITE_CODES.has(info.code)) {
    invite = undefined;
    const known = await duologue.hasIdentity().catch(() => false);
    if (link === endedLink && known) offerAgain("action.without-invite");
  } else if (!FINAL_CODES.has(info.code)) {
    offerAgain("action.reconnect");
  }
}

/** To who is not let in: a field for a link, or the way to be forgotten, whichever helps. */
async function offerHelp({ code, reason }, endedLink) {
  const shut = await import("./shut.js").catch(() => {});
  if (!shut || link !== endedLink) return;
  if (LINK_HELPS.has(code)) shut.askForLink(enter, reason);
  else if (code === "device-revoked") shut.offerToForget(askToForget);
}

/** Opens the line by an invite link. */
function enter(href) {
  invite = href;
  start();
}

function offerAgain(key) {
  say(reconnect, has(key) ? key : "action.reconnect"); // those of rare causes come with their words
  reconnect.hidden = false;
}

/** Something that an earlier page has left in this browser, or in this tab. */
function isKept(storage, name) {
  try {
    return globalThis[storage].getItem(name) !== null;
  } catch {
    return false; // where nothing can be kept, nothing was
  }
}

const hasConversation = () => ["duologue-conversation", "duologue-draft"].some((name) => isKept("sessionStorage", name));

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

const askToForget = startForget(async () => {
  await duologue.forgetIdentity(); // first: if it fails, nothing has changed
  const old = link;
  link = undefined;
  if (isKept("localStorage", UPLOADS)) await part("files");
  await parts.files?.forgetFiles();
  if (hasConversation()) await part("desk");
  await parts.desk?.forgetConversation();
  parts.desk?.forgetDraft();
  invite = undefined;
  old?.close();
  ended({ code: "forgotten", reason: "", byPeer: false });
});
if (development) {
  worker = new URL("./breakable.js", import.meta.url);
  part("break");
}
const worded = startLanguage({ host: location.host });
sayPlain(document.getElementById("host"), location.host);
showState("connecting");
showWho(undefined);
// What says that this script does not run. Later than all else, which may fail.
worded.then(() => document.getElementById("unstarted").remove());
if (isKept("localStorage", UPLOADS)) part("files");
if (hasConversation()) part("desk");

try {
  duologue = await import("../duologue.js");
  start();
} catch (error) {
  ended({ code: "not-loaded", reason: String(error), byPeer: false });
}
