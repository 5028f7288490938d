// Tokens, standing and signing out, by a server in memory that does what a real one does.

import { connect } from "duologue";
import { answer, atLevel, createServer, memoryIdentity } from "duologue/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

let server;
let links;
let worth; // by token

beforeEach(async () => {
  links = [];
  worth = new Map([["ada's", { subject: "ada", secs: 600 }], ["bob's", { subject: "bob" }], ["old", "token-expired"]]);
  server = await createServer({
    services: { any: answer((message) => message), staff: atLevel(2, answer((message) => message)) },
    token: (token) => {
      if (!worth.has(token)) throw new Error("what is that?");
      return worth.get(token);
    },
  });
});

afterEach(async () => {
  for (const link of links) link.close();
  await Promise.all(links.map((link) => link.closed));
  server.close();
});

function open(more) {
  const link = connect(server.options(more));
  link.heard = [];
  link.addEventListener("tokenerror", ({ detail }) => link.heard.push(detail));
  links.push(link);
  return link;
}

const until = (holds) => vi.waitFor(() => expect(holds()).toBe(true), { timeout: 5_000, interval: 2 });
const code = ({ code }) => code;

test("a token behind the first connection opens what its person may open", async () => {
  const link = open({ token: "ada's" });
  expect(link.standing).toBe(undefined);
  await link.ready;
  expect(link.standing).toMatchObject({ level: 2, subject: "ada", refused: undefined });
  expect(link.standing.until - Date.now()).toBeGreaterThan(590_000);
  expect((await link.request("staff", "hello")).length).toBe(5);
  expect((await server.session()).standing).toEqual({ level: 2, subject: "ada" });
  const without = open();
  expect(await without.request("staff", "hello").catch(code)).toBe("not-allowed");
  expect(without.standing).toMatchObject({ level: 1, subject: undefined, until: undefined });
});

test("a device that nobody has let in comes by a token alone, and is out with it", async () => {
  const { key: serverKey } = await open().ready.then(() => links[0].server);
  const identity = memoryIdentity();
  const more = { invite: undefined, serverKey, identity };
  expect(await open(more).ready.catch(code)).toBe("not-enrolled");
  const link = open({ ...more, token: "ada's" });
  await link.ready;
  await link.signOut();
  expect(await link.closed).toMatchObject({ code: "not-enrolled", byPeer: true });
  expect(await open({ ...more, token: "old" }).ready.catch(code)).toBe("not-enrolled");
});

test("the function is given the device, and nobody who has signed in is no error", async () => {
  let given;
  const link = open({ token: (device) => void (given = device) });
  await link.ready;
  expect(given).toBe(link.device);
  expect([given.nonce, given.jkt].every((name) => /^[\w-]{43}$/.test(name))).toBe(true);
  expect([link.standing.level, link.heard]).toEqual([1, []]);
});

test("what binds a token is the device's, and a proof is signed by its key", async () => {
  const seen = [];
  const own = await createServer({ token: (token, device) => (seen.push(device), "token-of-another-device") });
  const identity = memoryIdentity();
  const link = connect(own.options({ identity, token: "x" }));
  await link.ready;
  const { nonce, jkt, key } = link.device;
  expect(seen).toEqual([{ nonce, jkt, key }]);
  const proof = await link.device.proof({ htm: "POST", htu: "https://login.example/token?a=1#b", nonce: "n" });
  expect(proof.startsWith("eyJ")).toBe(true);
  const [head, claims, signature] = proof.split(".");
  const read = (part) => JSON.parse(Buffer.from(part, "base64url"));
  expect(read(claims)).toMatchObject({ htm: "POST", htu: "https://login.example/token", nonce: "n" });
  const { typ, alg, jwk } = read(head);
  expect([typ, alg]).toEqual(["dpop+jwt", "EdDSA"]);
  const thumbprint = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(jwk)));
  expect(Buffer.from(thumbprint).toString("base64url")).toBe(jkt);
  const verifier = await crypto.subtle.importKey("jwk", jwk, { name: "Ed25519" }, false, ["verify"]);
  const input = new TextEncoder().encode(`${head}.${claims}`);
  expect(await crypto.subtle.verify("Ed25519", verifier, Buffer.from(signature, "base64url"), input)).toBe(true);
  link.close();
  await link.closed;
  own.close();
});

test("a token that is not taken is told by its word, with what to do, once", async () => {
  const link = open({ token: "old" });
  await link.ready;
  expect([link.standing.level, link.standing.refused]).toEqual([1, "token-expired"]);
  server.cut();
  await until(() => link.state === "resuming");
  await until(() => link.state === "open");
  expect(link.heard).toEqual([{ code: "token-expired", reason: "The token's time is over: ask the issuer for a new one." }]);
  const other = open({ token: "what" });
  await other.ready;
  expect(other.heard.map(code)).toEqual(["token-malformed"]);
  expect(server.failures.map(({ label }) => label)).toEqual(["token"]);
  const none = await createServer();
  const third = connect(none.options({ token: "ada's" }));
  await third.ready;
  expect(third.standing.refused).toBe("token-not-taken");
  third.close();
  none.close();
});

test("a function that fails is told, and asked again with the next connection", async () => {
  let asked = 0;
  const link = open({
    token: async () => {
      asked += 1;
      if (asked === 1) throw new Error("the issuer is away");
      return "ada's";
    },
  });
  await link.ready;
  expect(link.heard).toEqual([{ code: "no-token", reason: expect.stringContaining("the issuer is away") }]);
  expect([link.standing.level, asked]).toEqual([1, 1]);
  server.cut();
  await until(() => link.standing.level === 2);
  expect(asked).toBe(2);
});

test("a token is renewed on the open line before its end, and its end lowers", async () => {
  worth.set("short", { subject: "ada", secs: 2 });
  worth.set("next", { subject: "ada", secs: 2.5 });
  const given = ["short", "next"];
  const states = [];
  const link = open({ token: () => given.shift() });
  await link.ready;
  link.addEventListener("statechange", () => states.push(link.state));
  const channel = link.channel("staff");
  await channel.send("hello");
  await until(() => given.length === 0);
  const session = await server.session();
  const open0 = performance.now();
  // The last gives nothing: nobody is signed in any more.
  await until(() => link.standing.level === 1);
  expect(performance.now() - open0).toBeGreaterThan(1_000);
  expect([link.standing.refused, session.standing.level, states]).toEqual(["token-expired", 1, []]);
  const read = async () => {
    for await (const message of channel) expect(message.length).toBe(5);
  };
  expect(await read().catch(code)).toBe("not-allowed");
  expect((await link.request("any", "here")).length).toBe(4);
});

test("somebody else's token ends the session, on the open line and with a new connection", async () => {
  worth.set("short", { subject: "ada", secs: 1 });
  const given = ["short", "bob's"];
  const link = open({ token: () => given.shift() });
  await link.ready;
  expect(await link.closed).toMatchObject({ code: "subject-changed", byPeer: true });

  const tokens = ["short", "bob's"];
  let give;
  const other = open({ token: () => (tokens.length === 2 ? tokens.shift() : new Promise((resolve) => (give = resolve))) });
  await other.ready;
  const channel = other.channel("any", { resend: "independent" });
  await channel.send("hers");
  await until(() => give !== undefined);
  server.refuse("unreachable");
  server.cut();
  await until(() => other.state === "resuming");
  const sent = channel.send("still hers").catch(({ code, delivery }) => [code, delivery]);
  const fresh = new Promise((resolve) => other.addEventListener("fresh", ({ detail }) => resolve(detail.code), { once: true }));
  give("bob's");
  server.refuse();
  expect([await fresh, await sent]).toEqual(["session-subject", ["session-subject", "not sent"]]);
  await until(() => other.standing.subject === "bob");
});

test("who signs out is out in all sessions of the device", async () => {
  const identity = memoryIdentity();
  const first = open({ identity, token: "ada's" });
  await first.ready;
  const second = open({ identity, invite: undefined, token: () => "ada's" });
  await second.ready;
  const channel = second.channel("staff");
  await channel.send("hello");
  await first.signOut();
  expect(first.standing).toMatchObject({ level: 1, subject: undefined, refused: "signed-out" });
  await until(() => second.standing.level === 1);
  expect(second.standing.refused).toBe("signed-out");
  const read = async () => {
    for await (const message of channel) expect(message.length).toBe(5);
  };
  expect(await read().catch(code)).toBe("not-allowed");
  // Nor is the token shown again.
  server.restart();
  for (const link of [first, second]) {
    await until(() => link.state === "open");
    expect(link.standing.level).toBe(1);
    expect(link.heard).toEqual([]);
  }
  const third = open({ identity, invite: undefined, token: "ada's" });
  await third.ready;
  expect(third.standing.level).toBe(2);
});

test("signing out without a connection counts with the next one", async () => {
  const link = open({ token: "ada's" });
  await link.ready;
  server.refuse("unreachable");
  server.cut();
  await until(() => link.state === "resuming");
  let isOut = false;
  const out = link.signOut().then(() => (isOut = true));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isOut).toBe(false);
  server.refuse();
  await out;
  expect([link.standing.level, (await server.session()).standing.level]).toEqual([1, 1]);
  link.close();
  await link.closed;
  await expect(link.signOut()).rejects.toMatchObject({ code: "normal" });
});

test("what the backend says is told", async () => {
  const link = open();
  await link.ready;
  const session = await server.session();
  session.vouch({ subject: "ada", secs: 60 });
  await until(() => link.standing.level === 2);
  expect(link.standing.subject).toBe("ada");
  session.signOut();
  await until(() => link.standing.level === 1);
  expect(() => session.vouch({ subject: "" })).toThrow(TypeError);
  expect(() => atLevel(4, () => {})).toThrow(RangeError);
});
