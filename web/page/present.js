/**
 * "Who is here": whose line it is, showing to be there by a passkey, and what passkeys there are. Loaded when a server that takes
 * passkeys has opened the line.
 *
 *   button ─► link.stepUp() ─► the browser asks its person ─► level 3 ─► what that opens is offered
 */

import { explain, has, learn, locale, onLanguage, say, sayPlain, words } from "./base.js";
import { DOOR_WORDS } from "./words/text-door.js";
import { PRESENT_WORDS } from "./words/text-present.js";

learn(DOOR_WORDS);
learn(PRESENT_WORDS);

const section = document.getElementById("present");
const who = document.getElementById("present-who");
const stepUp = document.getElementById("present-step-up");
const register = document.getElementById("present-register");
const result = document.getElementById("present-result");
const keys = document.getElementById("present-keys");
const list = document.getElementById("present-list");
let current = () => undefined; // the link that is in use now, if it is open
let isServed = false;
let heard; // the link that is listened to
let isBusy = false;

/** `currentLink` answers the link that is in use now, if it is open; `onRaised` hears that it may open more. */
export function startPresent(currentLink, onRaised) {
  current = currentLink;
  stepUp.addEventListener("click", () =>
    act("present.waiting", async (link) => {
      await link.stepUp();
      onRaised();
      return ["present.done"];
    }),
  );
  register.addEventListener("click", () =>
    act("present.making", async (link) => {
      const { name } = await link.passkeys.register();
      return ["present.registered", { name }];
    }),
  );
  keys.addEventListener("toggle", showList);
  onLanguage(showList);
  show();
}

/** Whether the server takes passkeys. */
export function served(is) {
  isServed = is;
  show();
}

function show() {
  const link = current();
  if (link && link !== heard) {
    heard = link;
    link.addEventListener("standing", () => link === current() && show());
    link.addEventListener("passkey", ({ detail }) => {
      tell("present.elsewhere", { name: detail.name });
      result.dataset.status = "failed";
      showList();
    });
  }
  const { level, subject, refused } = link?.standing ?? {};
  const why = level < 2 && has(`door.${refused}`) ? `door.${refused}` : undefined; // what was proved counts no more
  section.hidden = !isServed || !(subject || why);
  if (section.hidden) return;
  for (const part of [stepUp, register, keys]) part.hidden = !subject;
  say(who, why ?? (level > 2 ? "present.here" : level > 1 ? "present.account" : "present.device"), { subject });
  say(stepUp, level > 2 ? "present.again" : "present.step-up");
  showList();
}

/** One thing at a time: the browser asks its person once. */
async function act(meanwhile, work) {
  const link = current();
  if (isBusy || !link) return;
  isBusy = true;
  delete result.dataset.status;
  tell(meanwhile);
  try {
    tell(...(await work(link)));
    result.dataset.status = "done";
  } catch (error) {
    const key = `present.${error?.code}`;
    if (has(key)) tell(key);
    else tell("present.failed", { why: () => explain(error) });
    result.dataset.status = "failed";
  } finally {
    isBusy = false;
    showList();
  }
}

function tell(key, values) {
  say(result, key, values);
}

/** Asks for them only while somebody looks. */
async function showList() {
  const link = current();
  if (!link || !keys.open || section.hidden) return;
  const known = await link.passkeys.list().catch(() => {});
  if (!known || link !== current()) return;
  const focused = list.contains(document.activeElement);
  list.replaceChildren(...known.map(line));
  if (known.length === 0) list.append(make("li", "present.none"));
  if (focused) keys.firstElementChild.focus(); // the button that was pressed has gone
}

function line(passkey) {
  const item = document.createElement("li");
  const name = document.createElement("b");
  sayPlain(name, passkey.name);
  const day = (date) => date.toLocaleDateString(locale(), { dateStyle: "medium" });
  const made = make("span", passkey.here ? "present.made-here" : "present.made", { day: day(passkey.made) });
  made.className = "hint";
  const used = make("span", passkey.used ? "present.used" : "present.unused", passkey.used && { day: day(passkey.used) });
  used.className = "hint";
  const remove = make("button", "present.remove");
  remove.type = "button";
  remove.className = "quiet";
  remove.setAttribute("aria-label", `${words("present.remove")} ${passkey.name}`);
  remove.addEventListener("click", () =>
    act("present.removing", async (link) => {
      await link.passkeys.remove(passkey.id);
      return ["present.removed", { name: passkey.name }];
    }),
  );
  item.append(name, " ", made, " ", used, " ", remove);
  return item;
}

function make(element, key, values) {
  const made = document.createElement(element);
  say(made, key, values);
  return made;
}
