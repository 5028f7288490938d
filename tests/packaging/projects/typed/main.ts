// A program with the declarations that the server's example `json` keeps of its message types, and that example's server.

import assert from "node:assert/strict";

import { connect, type IdentityStore } from "duologue";
import WebSocket from "ws";

import type { Heard, Protocol, Say } from "./protocol.d.ts";

let kept: Uint8Array | undefined;
const identity: IdentityStore = { load: async () => kept, store: async (bytes) => void (kept = bytes) };
const { DUOLOGUE_URL: url = "", DUOLOGUE_INVITE: invite = "" } = process.env;
const link = connect<Protocol>({ url, invite, identity, WebSocket });
const patience = { timeout: 20_000 };

const sum: number | null = await link.requestJson("add", { a: 40, b: 2 }, patience);
assert.equal(sum, 42);
assert.equal(await link.requestJson("add", { a: -1, b: 1 }, patience), 0);

// The next integer is one that JSON.parse may take for another: the server says so, and gives no wrong answer.
const most = Number.MAX_SAFE_INTEGER;
assert.equal(await link.requestJson("add", { a: most, b: 0 }, patience), most);
await assert.rejects(link.requestJson("add", { a: most, b: 1 }, patience), { name: "DuologueError", code: "failed" });

// What the compiler is talked out of refusing, the server refuses.
const wrong = { a: "40", b: 2 } as unknown as Protocol["add"]["request"];
await assert.rejects(link.requestJson("add", wrong, patience), { name: "DuologueError", code: "failed" });

const chat = link.channel("chat");
const said: Say[] = [{ text: "Héllo", mood: { loud: { decibels: 90 } } }, { text: "hello", mood: "calm" }, { text: "", mood: null }];
const heard: Heard[] = [];
const sent = Promise.all(said.map((each) => chat.sendJson(each)));
for await (const each of chat.json()) if (heard.push(each) === said.length) break;
await sent;
assert.deepEqual(heard.map(({ text, mood }) => ({ text, mood })), said);
assert.deepEqual(heard[0]?.bytes, [...new TextEncoder().encode("Héllo")]);
assert.ok(Math.abs(Date.now() - (heard[0]?.at ?? 0)) < 60_000);

link.close();
await link.closed;
console.log("typed: ok");
process.exit(0);
