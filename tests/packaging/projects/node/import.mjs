import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { connect } from "duologue";
import { fileIdentity } from "duologue/node";
import WebSocket from "ws";

import { echo } from "./echo.mjs";

console.log(`echoed: ${await echo(connect, fileIdentity, WebSocket)}`);

// For those who serve or check the module themselves.
const module = await readFile(new URL(import.meta.resolve("duologue/core.wasm")));
assert.ok(WebAssembly.validate(module));

// `ws` would end this process over a socket's error that nobody hears.
const nowhere = { url: "wss://localhost:1/line", invite: process.env.DUOLOGUE_INVITE, WebSocket };
const link = connect({ ...nowhere, identity: { load: async () => undefined, store: async () => {} } });
const { code, byPeer } = await link.closed;
assert.deepEqual([code, byPeer], ["unreachable", false]);
