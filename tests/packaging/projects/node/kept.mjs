// What a caller keeps: damaged in many ways, which must never be made worse; and used by two links at once.

import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { connect } from "duologue";
import { fileIdentity } from "duologue/node";
import ws from "ws";

const { DUOLOGUE_URL: url, DUOLOGUE_INVITE: invite, OTHER_URL: otherUrl, OTHER_INVITE: otherInvite } = process.env;
const host = new URL(url).host;
// Each server's own certificate: the two have one name, so that Node.js would take one for the other.
const trusted = {
  [host]: await readFile(process.env.DUOLOGUE_CERTIFICATE),
  [new URL(otherUrl).host]: await readFile(process.env.OTHER_CERTIFICATE),
};
class WebSocket extends ws {
  constructor(url, protocols) {
    super(url, protocols, { ca: trusted[new URL(url).host] });
  }
}

const toBytes = (text) => new TextEncoder().encode(text);
const toText = (bytes) => new TextDecoder().decode(bytes);

class Memory {
  stores = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  /** Slow, so that two that race do meet. */
  async load() {
    await sleep(5);
    return this.bytes;
  }

  async store(bytes) {
    await sleep(20);
    this.bytes = bytes;
    this.stores += 1;
  }
}

/** Has something echoed; the device that did. */
async function echoes(options) {
  const link = connect({ ...options, WebSocket });
  assert.equal(toText(await link.request("echo", "hello", { timeout: 20_000 })), "hello");
  const { key } = link.device;
  link.close();
  assert.equal((await link.closed).code, "normal");
  return key;
}

const good = new Memory();
const device = await echoes({ url, invite, identity: good });
const kept = JSON.parse(toText(good.bytes));
const stranger = new Memory();
await echoes({ url: otherUrl, invite: otherInvite, identity: stranger });
const [other] = Object.values(JSON.parse(toText(stranger.bytes)).servers);

const json = (value) => toBytes(JSON.stringify(value));
const record = (change) => json({ version: 1, servers: { [host]: { ...kept.servers[host], ...change } } });
const damaged = {
  "nothing": new Uint8Array(),
  "no JSON": toBytes("hello"),
  "no text": Uint8Array.from({ length: 256 }, (_, at) => at),
  "another JSON": json({ servers: kept.servers }),
  "null": json(null),
  "a number": json(1),
  "no servers": json({ version: 1 }),
  "null for servers": json({ version: 1, servers: null }),
  "a list for servers": json({ version: 1, servers: [] }),
  "a later version": json({ ...kept, version: 2 }),
  "a version as text": json({ ...kept, version: "1" }),
  "null for the server": json({ version: 1, servers: { [host]: null } }),
  "a text for the server": json({ version: 1, servers: { [host]: "AAAA" } }),
  "an empty server": json({ version: 1, servers: { [host]: {} } }),
  "a key that is no base64": record({ pkcs8: "no base64!" }),
  "a key that is not PKCS#8": record({ pkcs8: btoa("not PKCS#8") }),
  "a key cut short": record({ pkcs8: kept.servers[host].pkcs8.slice(0, 40) }),
  "a key that is no text": record({ pkcs8: [1, 2, 3] }),
  "another device's private half": record({ pkcs8: other.pkcs8 }),
  "a public half that is no base64": record({ spki: "no base64!" }),
  "a public half that is no key": record({ spki: btoa("no key") }),
  "an unknown algorithm": record({ algorithm: "constructor" }),
  "the other algorithm": record({ algorithm: other.algorithm === "Ed25519" ? "P-256" : "Ed25519" }),
  "a pin that is no key": record({ serverKey: "AAAA" }),
  "a pin that is no text": record({ serverKey: 5 }),
  "a ticket that is no text": record({ ticket: {} }),
  "a text for enrolled": record({ enrolled: "yes" }),
};
// The newline at its end is nothing to miss.
for (const length of [1, 10, 100, good.bytes.length - 2]) damaged[`cut after ${length} bytes`] = good.bytes.slice(0, length);

let sockets = 0;
class Counted extends WebSocket {
  constructor(...options) {
    super(...options);
    sockets += 1;
  }
}

async function isRefused(identity, what) {
  // An invite too, as for a device that would be made anew.
  const link = connect({ url, invite, identity, WebSocket: Counted });
  await assert.rejects(link.ready, { name: "DuologueError", code: "bad-identity" }, what);
  const { code, reason, byPeer } = await link.closed;
  assert.deepEqual([code, byPeer], ["bad-identity", false], what);
  assert.match(reason, /^What the identity's load\(\) gives [^\n]+: (restore it, or remove it|use the package that stored it)\.$/, what);
}

for (const [what, bytes] of Object.entries(damaged)) {
  const identity = new Memory(bytes);
  const before = bytes.slice();
  await isRefused(identity, what);
  assert.deepEqual([identity.stores, identity.bytes], [0, before], what);
}
assert.equal(sockets, 0, "a damaged identity asks no server");
await assert.rejects(connect({ url, identity: new Memory(damaged["a later version"]), WebSocket }).ready, /has version 2, and this package knows 1 only/);

// What is damaged for one server is kept as it is for its sake, and the others are served.
const half = new Memory(json({ version: 1, servers: { ...kept.servers, "elsewhere.example": null } }));
assert.equal(await echoes({ url, identity: half }), device);
assert.equal(JSON.parse(toText(half.bytes)).servers["elsewhere.example"], null);

// Two links of one store, to one server: one device. To two servers: both are kept.
const both = async (ways) => Promise.all(ways.map(echoes));
const shared = new Memory();
for (let round = 0; round < 3; round++) {
  const first = round === 0;
  const here = { url, invite: first ? process.env.RACE_INVITE : undefined, identity: shared };
  const there = { url: otherUrl, invite: first ? process.env.OTHER_RACE_INVITE : undefined, identity: shared };
  const [a, b, c] = await both([here, here, there]);
  assert.equal(a, b);
  assert.notEqual(a, c);
}

const folder = await mkdtemp(join(tmpdir(), "duologue-kept-"));
try {
  // The same file by two names, each with a keeper of its own as the caller sees it.
  const file = join(folder, "identity.json");
  const again = join(folder, "elsewhere", "..", "identity.json");
  await both([
    { url, invite: process.env.FILE_INVITE, identity: fileIdentity(file) },
    { url: otherUrl, invite: process.env.OTHER_FILE_INVITE, identity: fileIdentity(again) },
  ]);
  const servers = JSON.parse(await readFile(file, "utf8")).servers;
  assert.deepEqual(Object.keys(servers).sort(), [host, new URL(otherUrl).host].sort());
  await both([{ url, identity: fileIdentity(again) }, { url: otherUrl, identity: fileIdentity(file) }]);

  const cut = (await readFile(file)).subarray(0, 100);
  await writeFile(file, cut);
  await isRefused(fileIdentity(file), "a file cut short");
  assert.deepEqual(await readFile(file), cut);
  assert.deepEqual(await readdir(folder), ["identity.json"]);
} finally {
  await rm(folder, { recursive: true });
}
console.log("kept: ok");
