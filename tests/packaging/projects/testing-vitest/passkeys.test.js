// Passkeys by a server in memory: stepping up, registering, and what is refused, as a real server does it.

import { connect } from "duologue";
import { answer, atLevel, authenticator, createServer } from "duologue/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

let server;
let links;
let key;

beforeEach(async () => {
  links = [];
  key = authenticator();
  const echo = answer((message) => message);
  server = await createServer({
    services: { vault: atLevel(3, echo) },
    passkeys: true,
    token: (token) => ({ subject: token, secs: 600 }),
  });
});

afterEach(async () => {
  for (const link of links) link.close();
  await Promise.all(links.map((link) => link.closed));
  server.close();
  key.remove();
});

function open(more) {
  const link = connect(server.options(more));
  links.push(link);
  return link;
}

const code = ({ code }) => code;
const until = (holds) => vi.waitFor(() => expect(holds()).toBe(true), { timeout: 5_000, interval: 2 });

test("who has logged in registers a passkey, and opens by it what is closed", async () => {
  const link = open({ token: "ada" });
  expect(await link.request("vault", "a").catch(code)).toBe("step-up-needed");
  expect(await link.stepUp().catch(code)).toBe("passkey-none");
  const made = await link.passkeys.register({ name: "a key" });
  expect(made).toMatchObject({ name: "a key", used: undefined, here: true });
  expect(await link.passkeys.register().catch(code)).toBe("step-up-needed");
  expect(await link.stepUp()).toMatchObject({ level: 3, subject: "ada" });
  expect((await link.request("vault", "a")).length).toBe(1);
  expect((await server.session()).standing).toEqual({ level: 3, subject: "ada" });
  const vault = link.channel("vault");
  await vault.send("a");
  expect(await link.passkeys.register().catch(code)).toBe("passkey-known");
  expect(await link.passkeys.remove(made.id)).toMatchObject({ id: made.id });
  await until(() => link.standing.level === 2);
  await expect((async () => { for await (const _ of vault); })()).rejects.toMatchObject({ code: "step-up-needed" });
});

test("presence is of one session, lives through a cut, and ends with it", async () => {
  const link = open({ token: "ada" });
  await link.passkeys.register();
  await link.stepUp();
  server.cut();
  expect((await link.request("vault", "a")).length).toBe(1);
  const other = open({ token: "ada" });
  expect(await other.request("vault", "a").catch(code)).toBe("step-up-needed");
  server.restart();
  await until(() => link.state === "open" && link.standing.level === 2);
  expect(await link.request("vault", "a").catch(code)).toBe("step-up-needed");
});

test("another device of the same person hears of a new passkey, and nobody else", async () => {
  const heard = [];
  const [link, same, other] = ["ada", "ada", "bob"].map((token) => open({ token }));
  for (const one of [link, same, other]) one.addEventListener("passkey", ({ detail }) => heard.push([one === same, detail.name]));
  await Promise.all([link, same, other].map((one) => one.ready));
  await link.passkeys.register({ name: "a key" });
  await until(() => heard.length === 1);
  expect(heard).toEqual([[true, "a key"]]);
  expect(await other.passkeys.list()).toEqual([]);
});

test("what is refused is told: by the person, the server, or the browser that has none", async () => {
  const nobody = open();
  expect(await nobody.stepUp().catch(code)).toBe("no-subject");
  const link = open({ token: "ada" });
  key.refuses = true;
  expect(await link.passkeys.register().catch(code)).toBe("no-presence");
  key.refuses = false;
  server.refusePasskeys("login-too-old");
  expect(await link.passkeys.register().catch(code)).toBe("login-too-old");
  server.refusePasskeys();
  await link.passkeys.register();
  const signal = AbortSignal.abort(new TypeError("enough"));
  expect((await link.stepUp({ signal }).catch((error) => error)).message).toBe("enough");
  key.remove();
  expect(await link.stepUp().catch(code)).toBe("no-passkeys");
});
