/**
 * Puts the words of text.js on the page, in the language of the person, and again when the language changes.
 *
 * `say(element, key, values)` remembers key and values on the element, so that one walk over the document
 * re-labels everything, bubbles and error sentences included. Text enters the DOM only as text nodes.
 *
 *   start, or the switch ─► the words of that language are fetched, once ─► the walk; if they cannot be: #language-note
 *
 * Nothing waits for the words at the start: until they come all texts are empty.
 */

import { LANGUAGES, TEXT, addWords, loadWords } from "./text.js";

const STORE = "duologue-language";
const values = new WeakMap();
const listeners = new Set();
const note = document.getElementById("language-note");
let language = preferred();
let asked; // the language that is wanted, its words perhaps still on their way

function preferred() {
  try {
    const stored = localStorage.getItem(STORE);
    if (LANGUAGES.includes(stored)) return stored;
  } catch {
    // Storage may be forbidden; the browser's language decides then.
  }
  return navigator.language.toLowerCase().startsWith("fr") ? "fr" : "en";
}

export const has = (key) => Object.hasOwn(TEXT[language], key);
export const locale = () => language;

const number = (value) => new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(value);

/** The words of a key. A value may be text, a number, or a function that is asked again in each language. */
export function words(key, given = {}) {
  return (TEXT[language][key] ?? "").replace(/\{(\w+)\}/g, (_, name) => {
    const value = typeof given[name] === "function" ? given[name]() : given[name];
    return typeof value === "number" ? number(value) : String(value ?? "");
  });
}

/** Sets an element's text, now and after each change of language. */
export function say(element, key, given) {
  element.dataset.text = key;
  if (given) values.set(element, given);
  else values.delete(element);
  write(element, words(key, given));
}

/** Sets text that is in no dictionary (a name, a peer's own words). */
export function sayPlain(element, text) {
  delete element.dataset.text;
  values.delete(element);
  element.textContent = text;
}

/** Sets an element's accessible name, now and after each change of language. */
export function label(element, key, given) {
  element.dataset.label = key;
  if (given) values.set(element, given);
  element.setAttribute("aria-label", words(key, given));
}

function write(element, text) {
  const parts = text.split("`").map((part, index) => {
    if (index % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
  element.replaceChildren(...parts);
}

/** Calls back after each change of language, for what is not a plain labelled element. */
export const onLanguage = (listener) => listeners.add(listener);

function translate() {
  document.documentElement.lang = language;
  document.title = words("page.title");
  for (const element of document.querySelectorAll("[data-text]")) {
    write(element, words(element.dataset.text, values.get(element)));
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words(element.dataset.label, values.get(element)));
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
  for (const listener of listeners) listener();
}

/** Words that come late: what stands on the page may have waited for them. */
export function learn(more) {
  addWords(more);
  translate();
}

async function speak(chosen) {
  asked = chosen;
  let isLoaded = true;
  await loadWords(chosen).catch(() => (isLoaded = false));
  if (asked !== chosen) return; // another was asked for meanwhile
  note.hidden = isLoaded;
  if (!isLoaded) return;
  language = chosen;
  translate();
}

/** Labels the page and makes the language switch work. Fulfils when there are words, or none can be had. */
export function startLanguage(common) {
  for (const element of document.querySelectorAll("[data-with]")) {
    values.set(element, { [element.dataset.with]: common[element.dataset.with] });
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      const chosen = button.dataset.language;
      try {
        localStorage.setItem(STORE, chosen);
      } catch {
        // Not remembered, but switched.
      }
      speak(chosen);
    });
  }
  return speak(language);
}
