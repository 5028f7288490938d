/**
 * An app with a login as it always was: a form, a session by cookie, notes that each person has for themselves. What it tells the
 * line's server of who somebody is stands in `vouch`; nothing else here is about the line.
 */

import { createHash, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import express from "express";
import session from "express-session";

const HOURS = 8;
const COST = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 2 ** 20 }; // as OWASP has it: 128 MiB for each attempt
const derive = promisify(scrypt);

/** In place of a table of accounts. The passwords are `note G` and `six strings`. */
const PEOPLE = new Map(
  Object.entries({
    ada: { name: "Ada", salt: "S5fjJSp6JylwbWQYmz8M0w", hash: "iU6nytL81W8gGG8J2C2JMZGd-Yj-S0enMAEpfIYGUiU" },
    bob: { name: "Bob", salt: "cYIycwz1WPgYj4l0K61ZbQ", hash: "uf8YIJITMC2deMJK-1l-PpOV3IWDMWwfpvR2M3ZgQcg" },
  }),
);
/** Looked at for names that nobody has, so that a stranger's attempt takes as long as a person's. */
const NOBODY = { salt: "AAAAAAAAAAAAAAAAAAAAAA", hash: "" };

const notes = new Map(); // who → their notes
const tabs = new Map(); // the hash of a tab's key → { who, device, until }

async function check(name, password) {
  if (typeof name !== "string" || typeof password !== "string" || password.length > 1_000) return undefined;
  const person = PEOPLE.get(name) ?? NOBODY;
  const found = await derive(password.normalize("NFC"), Buffer.from(person.salt, "base64url"), 32, COST);
  const kept = Buffer.from(person.hash, "base64url");
  return kept.length === found.length && timingSafeEqual(kept, found) ? name : undefined;
}

/** Says to the line's server who has asked this, in its own one-time value: neither a cache nor a header that somebody else has
 * written can say it in another's place. */
function vouch(request, response, word) {
  response.set("duologue-vouch", `${request.get("duologue-request")}; ${word}`);
}

const hashOf = (key) => createHash("sha256").update(key).digest("base64url");

/** A reload ends the page's session, and its cookies with it. What a tab keeps instead is worth nothing on another device. */
function keyOfTab(who, device) {
  const key = randomBytes(32).toString("base64url");
  for (const [old, { until }] of tabs) if (until < Date.now() || tabs.size >= 10_000) tabs.delete(old);
  tabs.set(hashOf(key), { who, device, until: Date.now() + HOURS * 3_600_000 });
  return key;
}

function ownerOf(key, device) {
  const tab = typeof key === "string" ? tabs.get(hashOf(key)) : undefined;
  return tab && tab.device === device && tab.until > Date.now() ? tab.who : undefined;
}

const app = express();
app.disable("x-powered-by");
app.use(express.json({ limit: "10kb" }));
app.use(
  session({
    name: "session",
    secret: randomBytes(32).toString("base64url"),
    resave: false,
    saveUninitialized: false,
    cookie: { httpOnly: true, sameSite: "strict", maxAge: HOURS * 3_600_000 },
  }),
);
app.use((request, response, next) => {
  response.set("cache-control", "no-store");
  // The line's server says it of each request, and lets nobody else say it.
  if (request.get("duologue-request")) next();
  else response.status(403).json({ error: "not-over-the-line" });
});

app.post("/api/login", async (request, response) => {
  const { name, password, tab } = request.body ?? {};
  const device = request.get("duologue-device");
  const who = tab === undefined ? await check(name, password) : ownerOf(tab, device);
  if (!who) return response.status(401).json({ error: tab === undefined ? "wrong-password" : "tab-unknown" });
  // Another id than before the login, which nobody else can have given this browser.
  await promisify(request.session.regenerate).call(request.session);
  request.session.who = who;
  const until = Math.floor(Date.now() / 1_000) + HOURS * 3_600;
  vouch(request, response, `subject=${encodeURIComponent(who)}; until=${until}`);
  response.json({ name: PEOPLE.get(who).name, tab: tab ?? keyOfTab(who, device) });
});

app.post("/api/logout", async (request, response) => {
  const device = request.get("duologue-device");
  for (const [key, tab] of tabs) if (tab.device === device) tabs.delete(key);
  await promisify(request.session.destroy).call(request.session);
  vouch(request, response, "signed-out");
  response.json({});
});

/** Who somebody is to this app, by its cookie, and to the line, by what its server has heard. */
app.get("/api/me", (request, response) => {
  const person = PEOPLE.get(request.session.who);
  response.json({ name: person?.name ?? null, subject: request.get("duologue-subject") ?? null });
});

app.use("/api/notes", (request, response, next) => {
  if (request.session.who) next();
  else response.status(401).json({ error: "not-signed-in" });
});

app.get("/api/notes", (request, response) => response.json(notes.get(request.session.who) ?? []));

app.post("/api/notes", (request, response) => {
  const { text } = request.body ?? {};
  if (typeof text !== "string" || !text.trim() || text.length > 1_000) return response.status(400).json({ error: "bad-note" });
  const own = [...(notes.get(request.session.who) ?? []), text].slice(-100);
  notes.set(request.session.who, own);
  response.status(201).json(own);
});

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
