/**
 * The question before this device's key is erased. Loaded when it is asked.
 */

import { addWords, explain, say, sayPlain } from "./base.js";
import { FORGET_WORDS } from "./words/text-forget.js";

addWords(FORGET_WORDS);

let dialog;

/** Asks, and if the answer is yes, runs `erase`, which may fail. */
export function ask(erase) {
  dialog ??= build(erase);
  dialog.failure.hidden = true;
  dialog.element.showModal();
}

function build(erase) {
  const element = make("dialog");
  element.id = "forget-dialog";
  element.setAttribute("aria-labelledby", "forget-title");
  element.setAttribute("aria-describedby", "forget-body");
  const title = make("h2", "forget.title");
  title.id = "forget-title";
  const body = make("p", "forget.body", { host: location.host });
  body.id = "forget-body";
  const failure = make("p");
  failure.className = "note";
  failure.setAttribute("role", "alert");
  const no = make("button", "forget.no");
  no.id = "forget-no";
  no.className = "primary";
  no.autofocus = true;
  const yes = make("button", "forget.yes");
  yes.id = "forget-yes";
  yes.className = "danger";
  const actions = make("div");
  actions.className = "actions";
  actions.append(no, yes);
  element.append(title, body, failure, actions);
  document.body.append(element);

  no.addEventListener("click", () => element.close());
  yes.addEventListener("click", async () => {
    try {
      await erase();
      element.close();
    } catch (error) {
      say(failure, "forget.failed", { why: () => explain(error) });
      failure.hidden = false;
    }
  });
  return { element, failure };
}

function make(name, key, values) {
  const made = document.createElement(name);
  if (name === "button") made.type = "button";
  if (key) say(made, key, values);
  else sayPlain(made, "");
  return made;
}
