/**
 * "Devices": a link and a QR code for one more, this one's name, and how it is removed. Loaded when it is opened.
 *
 *   empty message to the service `pair` ─► { link, secs, size, modules } ─► one path of squares; or { error }
 */

import { browserName } from "../name.js";
import { addWords, explain, label, say, sayPlain } from "./base.js";
import { PAIR_WORDS } from "./words/text-pair.js";

const SVG = "http://www.w3.org/2000/svg";
const TIMEOUT_MS = 10_000;
const SIZE_MAX = 177; // of the largest QR code there is

addWords(PAIR_WORDS);

const panel = document.getElementById("pair-panel");

/** Asks the server at the other end of a link, and shows what it says. */
export async function open(link) {
  panel.hidden = false;
  panel.replaceChildren(make("p", "pair.asking"));
  const shown = [];
  try {
    const answer = JSON.parse(new TextDecoder().decode(await link.request("pair", "", { timeout: TIMEOUT_MS })));
    if (answer.error !== undefined) shown.push(make("p", "pair.too-many"));
    else shown.push(...invitation(answer));
  } catch (error) {
    shown.push(error?.code === "refused" ? make("p", "pair.refused") : make("p", "pair.failed", { why: () => explain(error) }));
  }
  panel.replaceChildren(...shown, ...removal(link.device));
}

function invitation({ link, secs, size, modules }) {
  const { host, hostname } = new URL(link);
  const isHere = /(^|\.)localhost$|^127\.|^\[::1\]$/.test(hostname);
  const intro = make("p", isHere ? "pair.here" : "pair.intro", { hours: Math.floor(secs / 3_600), host });
  const address = make("code");
  address.className = "pair-link";
  sayPlain(address, link);
  const copy = make("button", "pair.copy");
  copy.type = "button";
  copy.addEventListener("click", () =>
    navigator.clipboard.writeText(link).then(
      () => say(copy, "pair.copied"),
      () => getSelection().selectAllChildren(address), // forbidden: then by hand
    ),
  );
  return [intro, picture(size, modules), address, copy];
}

function picture(size, modules) {
  if (!Number.isSafeInteger(size) || size < 21 || size > SIZE_MAX) throw new Error("The QR code has no size.");
  const isDark = (at) => (Number.parseInt(modules[at >> 2], 16) >> (3 - (at & 3))) & 1;
  let path = "";
  for (let at = 0; at < size * size; at += 1) if (isDark(at)) path += `M${at % size} ${Math.floor(at / size)}h1v1h-1z`;
  const squares = document.createElementNS(SVG, "path");
  squares.setAttribute("d", path);
  const qr = document.createElementNS(SVG, "svg");
  qr.setAttribute("viewBox", `0 0 ${size} ${size}`);
  qr.setAttribute("role", "img");
  qr.setAttribute("class", "qr");
  label(qr, "pair.qr");
  qr.append(squares);
  return qr;
}

/** A device's key is its id, as `duologue devices list` shows it. */
function removal({ key }) {
  const name = make("p", "pair.name", { name: browserName() });
  name.className = "hint after";
  const command = make("code");
  command.className = "pair-link";
  command.id = "device-revoke";
  sayPlain(command, `duologue devices revoke ${key}`);
  return [name, command];
}

function make(element, key, values) {
  const made = document.createElement(element);
  if (key) say(made, key, values);
  return made;
}
