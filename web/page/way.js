/**
 * What somebody between this page and the server does to the connection outside the seal, where anything is seen of it: asked for
 * whenever the line is open. Loaded with foot.js.
 */

import { learn, locale, say, words } from "./base.js";
import { WAY_WORDS } from "./words/text-way.js";

const note = document.getElementById("way");

learn(WAY_WORDS);

/** Asks for the report of a link, and shows what differs; nothing where nothing does, or the server tells nothing. */
export async function showWay(link, isCurrent) {
  note.replaceChildren();
  if (!link.services?.includes("path")) return;
  const { differs, seen } = await link.path();
  if (!isCurrent() || differs.length === 0) return;
  const names = seen.headers.join(", ");
  const list = () => new Intl.ListFormat(locale()).format(differs.map((name) => words(`way.${name}`, { names })));
  say(note, seen.ownProxy ? "way.own" : "way.told", { what: list });
}
