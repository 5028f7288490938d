/**
 * What helps a person whom the server does not let in: a field for an invite link, or, where this device was revoked, the
 * way to forget it. Loaded when it is wanted.
 *
 *   a link, or its end from # on ─► of this server, and an invite? ─► the page opens it as if it had been called by it
 */

import { has, learn, say, sayPlain } from "./base.js";
import { DOOR_WORDS } from "./words/text-door.js";
import { SHUT_WORDS } from "./words/text-shut.js";

const place = document.getElementById("help");
let enter; // what takes a link's invite

learn(SHUT_WORDS);
learn(DOOR_WORDS);

/** Shows it: `opened` gets the link that the person gives. Who was here by a login alone is told by its word why that counts no more. */
export function askForLink(opened, word) {
  enter = opened;
  if (has(`door.${word}`)) {
    say(document.getElementById("cause-what"), `door.${word}`);
    sayPlain(document.getElementById("cause-do"), "");
  }
  const form = make("form");
  form.id = "invite-form";
  const label = make("label", "shut.label");
  label.htmlFor = "invite-link";
  const input = make("input");
  Object.assign(input, { id: "invite-link", type: "text", inputMode: "url", autocomplete: "off", spellcheck: false });
  input.autocapitalize = "off";
  input.setAttribute("aria-describedby", "invite-note");
  const button = make("button", "shut.open");
  button.className = "primary";
  const note = make("p");
  note.id = "invite-note";
  note.className = "hint";
  note.setAttribute("role", "status");
  const row = make("div");
  row.className = "invite-row";
  row.append(input, button);
  form.append(label, row, note);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = input.value.trim();
    const why = refusal(text);
    if (why) {
      say(note, ...why);
      input.setAttribute("aria-invalid", "true");
      input.focus();
      return;
    }
    input.value = ""; // it is a secret
    enter(new URL(text, location.href).href);
  });
  place.replaceChildren(form);
}

/** Shows a button that asks whether this device is to be forgotten. */
export function offerToForget(ask) {
  const button = make("button", "forget.open");
  button.id = "shut-forget";
  button.type = "button";
  button.className = "primary";
  button.addEventListener("click", ask);
  place.replaceChildren(button);
}

/** Why a text opens nothing here: key and values of a sentence. */
function refusal(text) {
  if (!URL.canParse(text, location.href) || !/#(?:.*&)?i=/.test(text)) return ["shut.no-invite", { example: `${location.origin}${location.pathname}#i=…` }];
  const { origin, host } = new URL(text, location.href);
  return origin === location.origin ? undefined : ["shut.elsewhere", { host }];
}

function make(name, key) {
  const made = document.createElement(name);
  if (key) say(made, key);
  return made;
}
