// A server in memory does what a real one does, and what it is told to.

import { DuologueError, connect } from "duologue";
import { answer, answerJson, createServer, http, memoryIdentity, stream } from "duologue/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

const text = (bytes) => new TextDecoder().decode(bytes);
let server;
let links;

beforeEach(async () => {
  links = [];
  server = await createServer({
    services: {
      echo: answer((message) => message),
      add: answerJson(({ a, b }) => a + b),
      nothing: answerJson(() => undefined),
      whose: answerJson((_, call) => [call.label, call.device.length, call.name]),
      throws: answer(() => {
        throw new Error("it does not work");
      }),
      two: (channel) => {
        channel.send("one"); // not awaited
        channel.send("two");
      },
      pings: async (channel) => {
        for await (const datagram of channel.datagrams) channel.datagrams.send(datagram);
      },
      copy: stream(({ readable, writable }) => readable.pipeTo(writable)),
      greets: stream(async ({ writable }) => writable.getWriter().write("hello")),
      http: http(async (request) => {
        if (new URL(request.url).pathname === "/none") return new Response(null, { status: 204 });
        return new Response(`${request.method} ${request.headers.get("x-a")} ${await request.text()}`, { status: 201, headers: { "x-b": "c" } });
      }),
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
  links.push(link);
  return link;
}

const becomes = (link, state) =>
  new Promise((resolve) => {
    const look = () => link.state === state && resolve();
    link.addEventListener("statechange", look);
    look();
  });

test("messages, requests, JSON", async () => {
  const link = open({ deviceName: "a test" });
  await link.ready;
  expect(link.services).toContain("whose");
  expect(text(await link.request("echo", "hello"))).toBe("hello");
  expect(await link.requestJson("add", { a: 40, b: 2 })).toBe(42);
  expect(await link.requestJson("nothing", {})).toBe(null);
  expect(await link.requestJson("whose", {})).toEqual(["whose", (await server.session()).device.length, "a test"]);
  const large = crypto.getRandomValues(new Uint8Array(65_536));
  const many = new Uint8Array(3_000_000).map((_, index) => large[index % large.length]);
  expect(Buffer.compare(Buffer.from(await link.request("echo", many)), Buffer.from(many))).toBe(0);
  const messages = [];
  const two = link.channel("two");
  for await (const message of two) messages.push(text(message));
  expect(messages).toEqual(["one", "two"]);
});

test("what goes wrong at the server", async () => {
  const link = open();
  await expect(link.request("no such", "x")).rejects.toMatchObject({ code: "refused" });
  await expect(link.request("throws", "x")).rejects.toMatchObject({ code: "failed" });
  await expect(link.request("copy", "x")).rejects.toMatchObject({ code: "refused" });
  expect(server.failures).toEqual([{ label: "throws", error: new Error("it does not work") }]);
  // A caller who leaves is no failure of the service.
  const channel = link.channel("echo");
  await channel.send("x");
  channel.cancel();
  await link.request("echo", "y");
  expect(server.failures.length).toBe(1);
  // Behind the end of a service nothing is taken.
  const over = link.channel("two");
  for await (const message of over) void message;
  const late = await over.send("late").catch((error) => error);
  expect(late).toBeInstanceOf(DuologueError);
});

test("streams both ways, and their ends", async () => {
  const link = open();
  const { readable, writable } = await link.createBidirectionalStream("copy");
  const blob = new Blob([new Uint8Array(1_000_000).fill(7)]);
  const sent = blob.stream().pipeTo(writable);
  const back = await new Response(readable).bytes?.() ?? new Uint8Array(await new Response(readable).arrayBuffer());
  await sent;
  expect(back.length).toBe(1_000_000);
  const greeting = await link.createBidirectionalStream("greets");
  const reader = greeting.readable.getReader();
  expect(text((await reader.read()).value)).toBe("hello");
});

test("datagrams", async () => {
  const { datagrams } = open().channel("pings");
  const received = datagrams[Symbol.asyncIterator]();
  let answered;
  const answer = received.next().then(({ value }) => (answered = text(value)));
  while (!answered) {
    datagrams.send("ping");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await answer;
  expect(answered).toBe("ping");
});

test("fetch, to a function", async () => {
  const link = open();
  const response = await link.fetch("/items?x", { method: "POST", body: "a body", headers: { "x-a": "b" } });
  expect([response.status, response.headers.get("x-b"), await response.text()]).toEqual([201, "c", "POST b a body"]);
  expect((await link.fetch("/none")).status).toBe(204);
});

test("the server opens channels and streams", async () => {
  const link = open();
  await link.ready;
  const session = await server.session();
  session.channel("news").send("it is here");
  for await (const channel of link.incoming) {
    expect([channel.label, text((await channel[Symbol.asyncIterator]().next()).value)]).toEqual(["news", "it is here"]);
    break;
  }
  const stream = await session.createBidirectionalStream("bytes");
  const writer = stream.writable.getWriter();
  writer.write("in bytes");
  const { value } = await link.incomingBidirectionalStreams.getReader().read();
  expect(text((await value.readable.getReader().read()).value)).toBe("in bytes");
});

test("a cut loses nothing", async () => {
  const link = open();
  const echo = link.channel("echo");
  const received = [];
  const reads = (async () => {
    for await (const message of echo) if (received.push(text(message)) === 100) return;
  })();
  for (let sent = 0; sent < 100; sent++) {
    await echo.send(String(sent));
    if (sent % 40 === 20) server.cut();
  }
  await reads;
  expect(received).toEqual(Array.from({ length: 100 }, (_, index) => String(index)));
});

test("a restart is told as fresh, with what became of messages", async () => {
  const link = open();
  await link.request("echo", "x");
  const fresh = new Promise((resolve) => link.addEventListener("fresh", ({ detail }) => resolve(detail.code)));
  let arrived;
  const held = new Promise((resolve) => (arrived = resolve));
  server.serve("holds", async (channel) => {
    for await (const _ of channel) {
      arrived();
      await new Promise(() => {});
    }
  });
  const holds = link.channel("holds");
  await holds.send("taken");
  await held;
  const pending = holds.send("not taken").catch((error) => error);
  await new Promise((resolve) => setTimeout(resolve, 20));
  server.restart();
  expect(await fresh).toBe("session-restarted");
  expect(await pending).toMatchObject({ code: "session-restarted", delivery: "unknown" });
  expect(text(await link.request("echo", "again"))).toBe("again");
  for (const code of ["session-evicted", "session-expired", "session-unknown", "session-altered"]) {
    const next = new Promise((resolve) => link.addEventListener("fresh", ({ detail }) => resolve(detail.code), { once: true }));
    server.forget(code);
    expect(await next).toBe(code);
    expect(text(await link.request("echo", code))).toBe(code);
  }
});

test("a delay is each message's", async () => {
  const link = open();
  await link.request("echo", "x");
  server.delay(40);
  const start = performance.now();
  expect(text(await link.request("echo", "late"))).toBe("late");
  expect(performance.now() - start).toBeGreaterThanOrEqual(78);
  server.delay(0);
  expect(() => server.delay(-1)).toThrow(RangeError);
  expect(() => server.delay(NaN)).toThrow(RangeError);
});

test("who is refused, and why", async () => {
  server.refuse("unreachable");
  await expect(open().ready).rejects.toMatchObject({ code: "unreachable" });
  server.refuse("origin-refused");
  await expect(open().ready).rejects.toMatchObject({ code: "origin-refused" });
  server.refuse();
  expect(() => server.refuse("no-such-code")).toThrow(RangeError);
  const invite = server.invite();
  const first = open({ invite });
  await first.ready;
  await expect(open({ invite }).ready).rejects.toMatchObject({ code: "invite-used" });
  const other = await createServer();
  await expect(open({ invite: other.invite() }).ready).rejects.toMatchObject({ code: "lost" }); // no answer is no evidence against a server
  other.close();
  // An open line stays, and comes back when it may.
  server.refuse("unreachable");
  server.cut();
  await becomes(first, "resuming");
  server.refuse();
  expect(text(await first.request("echo", "back"))).toBe("back");
});

test("a device comes again with its own key, until it is revoked", async () => {
  const identity = memoryIdentity();
  const first = open({ identity });
  await first.ready;
  first.close();
  await first.closed;
  const again = open({ identity, invite: undefined });
  await again.ready;
  expect(server.sessions.length).toBe(1);
  const session = await server.session();
  session.close("enough");
  expect(await again.closed).toMatchObject({ code: "normal", byPeer: true });
  expect(await session.closed).toMatchObject({ code: "normal" });
  const third = open({ identity, invite: undefined });
  await third.ready;
  (await server.session()).revoke();
  expect(await third.closed).toMatchObject({ code: "device-revoked" });
  await expect(open({ identity, invite: undefined }).ready).rejects.toMatchObject({ code: "device-revoked" });
});

test("a test holds the clock", async () => {
  vi.useFakeTimers();
  try {
    const link = open();
    expect(text(await link.request("echo", "hello"))).toBe("hello");
    server.refuse("unreachable");
    server.cut();
    await becomes(link, "resuming");
    await vi.advanceTimersByTimeAsync(119_000);
    expect(link.state).toBe("resuming");
    let code;
    link.addEventListener("fresh", ({ detail }) => (code = detail.code));
    await vi.advanceTimersByTimeAsync(2_000);
    server.refuse();
    // The device signs in its own time.
    while (!code) await vi.advanceTimersByTimeAsync(20);
    expect(code).toBe("session-expired");
  } finally {
    vi.useRealTimers();
  }
});

test("nothing is dialled", async () => {
  const sockets = vi.spyOn(globalThis, "fetch").mockImplementation(() => {
    throw new Error("a network");
  });
  expect(text(await open().request("echo", "hello"))).toBe("hello");
  expect(sockets).not.toHaveBeenCalled();
});
