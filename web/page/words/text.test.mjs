/**
 * No word of the page is missing in one language, asked for in vain, or left over; and index.html keeps within the
 * content security policy that the server sends. Run: `node --test web/page/words/text.test.mjs`.
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { LANGUAGES, TEXT, addWords, loadWords } from "./text.js";

const here = new URL("./", import.meta.url);
const page = readFileSync(new URL("../../../index.html", here), "utf8");
/** The scripts of a folder and of its rooms, delivered side by side: for each name, where it is. */
const inRooms = (folder) => {
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".js"));
  return new Map(names.map((name) => [name.split("/").at(-1), new URL(name, folder)]));
};
const places = inRooms(new URL("../", here));
const scripts = [...places.keys()];
const sources = scripts.filter((name) => !name.startsWith("text"));
const read = (name) => readFileSync(places.get(name), "utf8");
const code = sources.map(read).join("\n");
/** One of them is fetched at the start, by `import()`. */
const spoken = LANGUAGES.map((language) => `text-${language}.js`);
/** Fetched when they are wanted: by `import()`, and what only these import. */
const later = [
  "altered.js",
  "attach.js",
  "break.js",
  "breakable.js",
  "compare.js",
  "conversation.js",
  "desk.js",
  "echo.js",
  "faults.js",
  "files.js",
  "foot.js",
  "way.js",
  "forget.js",
  "amounts.js",
  "offline.js",
  "owner.js",
  "pair.js",
  "pin.js",
  "present.js",
  "rows.js",
  "sealed.js",
  "shut.js",
  "sight.js",
  "unfinished.js",
  "upload.js",
  "text-altered.js",
  "text-attach.js",
  "text-break.js",
  "text-cause.js",
  "text-compare.js",
  "text-desk.js",
  "text-door.js",
  "text-echo.js",
  "text-events.js",
  "text-files.js",
  "text-foot.js",
  "text-forget.js",
  "text-owner.js",
  "text-pair.js",
  "text-present.js",
  "text-sealed.js",
  "text-shut.js",
  "text-way.js",
  ...spoken,
];
for (const language of LANGUAGES) await loadWords(language);
const atOnce = Object.keys(TEXT.en);
for (const name of later.filter((name) => name.startsWith("text-") && !spoken.includes(name))) {
  for (const words of Object.values(await import(places.get(name)))) addWords(words);
}
const keys = Object.keys(TEXT.en);
const families = new Set(keys.map((key) => key.split(".")[0]));

const all = (text, pattern) => [...text.matchAll(pattern)].map((found) => found[1]);
const inPage = all(page, /data-(?:text|label)="([^"]*)"/g);
/** Keys written out in the scripts, and the beginnings of those put together (`cause.${code}`). */
const inCode = all(code, /"([a-z]+\.[a-z-]+)"/g).filter((key) => families.has(key.split(".")[0]));
const composed = all(code, /`([a-z]+\.)\$\{/g);

test("both languages have the same keys in the same order, and none is empty", () => {
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

test("what is asked for at once does not wait for words that are fetched later", () => {
  const first = sources.filter((name) => !later.includes(name)).map(read);
  const asked = all(first.join("\n"), /"([a-z]+\.[a-z-]+)"/g).filter((key) => keys.includes(key));
  // But for the parts of the page that are shown by a script that is fetched later, with its words.
  const isLater = (key) => (/^(break|echo|files|foot|owner|present|seal)\./.test(key) && key !== "seal.title") || key === "desk.intro";
  // And for what may be done about causes whose words come later as well.
  const ofRareCauses = (key) => key.startsWith("pin.") || ["action.keep-pin", "action.without-invite"].includes(key);
  const shown = inPage.filter((key) => !isLater(key));
  for (const key of [...shown, ...asked]) assert.ok(atOnce.includes(key) || ofRareCauses(key), key);
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

test("whatever the door says of somebody has words, with what to do", () => {
  // Held to the server's own list by `cargo xtask codes`.
  const declared = readFileSync(new URL("../../js/duologue.d.ts", here), "utf8").match(/export type DoorCode =\n((?:  .*\n)+)/)[1];
  const codes = all(declared, /^  \| "([a-z-]+)"/gm);
  assert.ok(codes.length >= 32, "the pattern above still finds them");
  const isWorded = (code) => [`door.${code}`, `present.${code}`].some((key) => keys.includes(key)) || ["cause", "do"].every((kind) => keys.includes(`${kind}.${code}`));
  assert.deepEqual(codes.filter((code) => !isWorded(code)), [], "for who uses the page");
  // For who makes an app: by `tokenerror`, or by the answer to what was asked of passkeys.
  const [token, passkeys] = ["token.js", "passkeys.js"].map((name) => readFileSync(new URL(`../../js/${name}`, here), "utf8"));
  const isTold = (code) => [token, passkeys].some((text) => text.includes(`"${code}": "`)) || code === "signed-out"; // which is their own doing
  assert.deepEqual(codes.filter((code) => !isTold(code)), [], "for who makes an app");
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

test("index.html fetches every module that the page needs at once, not one after the other", () => {
  const onDemand = ["asked.js", "debug.js", "fetch.js", "generate.js", "keeping.js", "kept.js", "keys.js", "passkeys.js", "path.js", "probe.js", "renew.js", "snapshot.js", "streamed.js", "token.js", "ways.js", "why.js"];
  const library = [...inRooms(new URL("../../js/", here)).keys()].filter((name) => !onDemand.includes(name));
  const wanted = scripts.filter((name) => !later.includes(name)).map((name) => `page/${name}`);
  wanted.push(...library, "duologue_core.js");
  const named = all(page, /(?:href|src)="([^"]*\.js)"/g);
  assert.deepEqual(named.sort(), wanted.sort());
});

test("index.html names its parts from where it is, so that it can be below a path", () => {
  const named = all(page, /\s(?:href|src)="([^"]*)"/g);
  assert.ok(named.length > 10);
  assert.deepEqual(named.filter((name) => !/^(page\/)?[\w-]+\.\w+$/.test(name) && !name.startsWith("#")), []);
  assert.doesNotMatch(code, /(?:fetch|import|register|Worker|URL)\("\//);
});

test("what is fetched when it is wanted is imported by nothing that is fetched at once", () => {
  for (const name of scripts) {
    const imported = all(read(name), /^(?:import|export)\b[^;]*?from "\.{1,2}\/(?:words\/)?([^"]*)"/gm);
    if (!later.includes(name)) assert.deepEqual(imported.filter((other) => later.includes(other)), [], name);
  }
  const wanted = all(code, /\bimport\("\.\/(?:words\/)?([^"]*)"\)/g);
  assert.deepEqual(wanted.filter((name) => !later.includes(name)), []);
});

test("the lists of words to read aloud are the 2,048 of BIP-39", () => {
  for (const [language, sha256] of [
    ["en", "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"],
    ["fr", "431c1d074225d2b7e82db857d7c3ea58051df546e7c8b74c1f6dcab36351fd56"],
  ]) {
    const text = readFileSync(new URL(`words-${language}.txt`, here));
    assert.equal(createHash("sha256").update(text).digest("hex"), sha256, language);
    assert.equal(new Set(text.toString().trim().split("\n")).size, 2_048);
  }
});
