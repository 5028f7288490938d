/**
 * No word of the page is missing in one language, asked for in vain, or left over; and index.html keeps within the
 * content security policy that the server sends. Run: `node --test web/page/text.test.mjs`.
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { LANGUAGES, TEXT } from "./text.js";

const here = new URL("./", import.meta.url);
const page = readFileSync(new URL("../../index.html", here), "utf8");
const scripts = readdirSync(here).filter((name) => name.endsWith(".js"));
const sources = scripts.filter((name) => !name.startsWith("text"));
const code = sources.map((name) => readFileSync(new URL(name, here), "utf8")).join("\n");
const keys = Object.keys(TEXT.en);
const families = new Set(keys.map((key) => key.split(".")[0]));

const all = (text, pattern) => [...text.matchAll(pattern)].map((found) => found[1]);
const inPage = all(page, /data-(?:text|label)="([^"]*)"/g);
/** Keys written out in the scripts, and the beginnings of those put together (`cause.${code}`). */
const inCode = all(code, /"([a-z]+\.[a-z-]+)"/g).filter((key) => families.has(key.split(".")[0]));
const composed = all(code, /`([a-z]+\.)\$\{/g);

test("both languages have the same keys, and none is empty", () => {
  assert.deepEqual(LANGUAGES, Object.keys(TEXT));
  assert.deepEqual(Object.keys(TEXT.fr), keys);
  for (const language of LANGUAGES) {
    for (const key of keys) {
      assert.equal(typeof TEXT[language][key], "string", `${language} ${key}`);
      assert.notEqual(TEXT[language][key].trim(), "", `${language} ${key}`);
    }
  }
});

test("a translation keeps the values and the code words", () => {
  for (const key of keys) {
    for (const pattern of [/\{\w+\}/g, /`[^`]*`/g]) {
      const parts = LANGUAGES.map((language) => (TEXT[language][key].match(pattern) ?? []).sort());
      assert.deepEqual(parts[1], parts[0], key);
    }
    for (const language of LANGUAGES) assert.equal(TEXT[language][key].split("`").length % 2, 1, `${language} ${key}`);
  }
});

test("every key that index.html or a script asks for exists", () => {
  assert.ok(inPage.length > 30 && inCode.length > 30, "the patterns above still find the keys");
  for (const key of [...inPage, ...inCode]) assert.ok(keys.includes(key), key);
  for (const start of composed) assert.ok(keys.some((key) => key.startsWith(start)), start);
});

test("no key is left over", () => {
  const used = new Set([...inPage, ...inCode]);
  const left = keys.filter((key) => !used.has(key) && !composed.some((start) => key.startsWith(start)));
  assert.deepEqual(left, []);
});

test("every state has words, and every cause says what to do", () => {
  for (const state of ["connecting", "open", "resuming", "draining", "closed"]) {
    assert.ok(keys.includes(`state.${state}`) && keys.includes(`detail.${state}`), state);
  }
  for (const key of keys.filter((key) => key.startsWith("cause."))) {
    assert.ok(keys.includes(key.replace("cause.", "do.")), key);
  }
});

test("index.html has no inline script, no inline style, no other host and no text outside text*.js", () => {
  assert.doesNotMatch(page, /<script(?![^>]*\ssrc=)/);
  assert.doesNotMatch(page, /<style|\sstyle=|\son[a-z]+=|https?:|\/\/[a-z]/i);
  assert.match(page, /<meta name="duologue-mode" content="serve">/);
  assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b/);
});

test("every id that a script looks up is in index.html, once", () => {
  const ids = all(page, /\sid="([^"]*)"/g);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of all(code, /getElementById\("([^"]*)"\)/g)) assert.ok(ids.includes(id), id);
});

test("index.html fetches every module at once, not one after the other", () => {
  // Fetched by those pages that ask for a worker, or use it.
  const later = ["fetch.js", "port.js", "remote.js", "worker.js"];
  const library = readdirSync(new URL("../js/", here)).filter((name) => name.endsWith(".js") && !later.includes(name));
  const wanted = scripts.map((name) => `/page/${name}`);
  wanted.push(...library.map((name) => `/${name}`), "/duologue_core.js");
  const named = all(page, /(?:href|src)="(\/[^"]*\.js)"/g);
  assert.deepEqual(named.sort(), wanted.sort());
});
