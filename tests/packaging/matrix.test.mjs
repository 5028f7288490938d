/**
 * The packed npm package as users have it: one project for each bundler, runtime and test runner, each of which opens a line
 * to a real server and has something echoed.
 *
 *   DUOLOGUE_TARBALL  the package      DUOLOGUE_MATRIX  where projects are laid out
 *   DUOLOGUE_BIN      the server       CHROMIUM         the browser; without it, cases for browsers are skipped
 *   DUOLOGUE_EXAMPLE  the server's example `json`
 *   DUOLOGUE_FILTER   only the cases whose name contains this
 *   DUOLOGUE_NAMES    no case at all: their names are told
 */

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync } from "node:crypto";
import { cpSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test as nodeTest } from "node:test";
import { pathToFileURL } from "node:url";

import { extend, reportOf, serve, serveFolder, used, visit } from "./harness/browser.mjs";
import { bin, example, project, start, within } from "./harness/project.mjs";
import { recipes } from "./harness/recipes.mjs";
import { needs, runtime } from "./harness/runtimes.mjs";
import { declarations, startExample, startServer, startServing } from "./harness/server.mjs";

const names = [];

// What is left out by name is not there, rather than skipped.
const test = (name, ...rest) => {
  names.push(name);
  if (!process.env.DUOLOGUE_NAMES && name.includes(process.env.DUOLOGUE_FILTER ?? "")) nodeTest(name, ...rest);
};

let server;
// Where there is no case, a server would run for nobody, and nobody would stop it.
if (!process.env.DUOLOGUE_NAMES) {
  before(async () => (server = await startServer()));
  after(() => server?.stop());
}

const needsBrowser = { skip: process.env.CHROMIUM ? false : "no browser" };
const PAGE = "on the page's thread";
const WORKERS = ["in a worker", "in a shared worker"];

/** What a program needs to reach the server. */
const line = () => ({ DUOLOGUE_URL: server.url, DUOLOGUE_INVITE: server.invite(), NODE_EXTRA_CA_CERTS: server.certificate });

async function pageEchoes(address, expected) {
  assert.deepEqual(await reportOf(address, server), { said: expected });
}

async function folderEchoes(folder, expected) {
  const site = await serveFolder(folder);
  try {
    await pageEchoes(site.address, expected);
  } finally {
    site.stop();
  }
}

async function programEchoes(folder, program, args, env = {}) {
  assert.match(await within(folder, program, args, { ...line(), ...env }), /^echoed: hello$/m);
}

test("node, import, with ws", async () => {
  const folder = await project("node", { shared: ["echo.mjs"] });
  await programEchoes(folder, "node", ["import.mjs"]);
});

test("node, require, with ws", async () => {
  await programEchoes(await project("node", { shared: ["echo.mjs"] }), "node", ["require.cjs"]);
});

test("node, identities that are damaged, and links that race on one store", async () => {
  const folder = await project("node");
  const other = await startServer();
  try {
    const here = { DUOLOGUE_INVITE: server.invite(), RACE_INVITE: server.invite(), FILE_INVITE: server.invite() };
    const there = { OTHER_INVITE: other.invite(), OTHER_RACE_INVITE: other.invite(), OTHER_FILE_INVITE: other.invite() };
    const trust = { DUOLOGUE_CERTIFICATE: server.certificate, OTHER_CERTIFICATE: other.certificate };
    const env = { DUOLOGUE_URL: server.url, OTHER_URL: other.url, ...trust, ...here, ...there };
    assert.match(await within(folder, "node", ["kept.mjs"], env), /^kept: ok$/m);
  } finally {
    other.stop();
  }
});

test("node 22, with its own WebSocket", needs("node"), async () => {
  const folder = await project("node-22", { shared: ["echo.mjs", "main.mjs"] });
  await programEchoes(folder, runtime(folder, "node"), ["main.mjs"]);
});

test("vite, dev", needsBrowser, async () => {
  const folder = await project("vite", { shared: ["report.js"] });
  const vite = await start(folder, "node", [bin(folder, "vite/bin/vite.js"), "--port", "0", "--host", "localhost"], /http:\/\/localhost:\d+/);
  try {
    await pageEchoes(vite.match[0], [PAGE, ...WORKERS, "in a worker of its own"]);
  } finally {
    await vite.stop();
  }
});

test("vite, build", needsBrowser, async () => {
  const folder = await project("vite", { shared: ["report.js"] });
  await within(folder, "node", [bin(folder, "vite/bin/vite.js"), "build"]);
  await folderEchoes(join(folder, "dist"), [PAGE, ...WORKERS, "in a worker of its own"]);
});

test("webpack", needsBrowser, async () => {
  const folder = await project("webpack", { shared: ["report.js"] });
  await within(folder, "node", ["build.mjs"]);
  await folderEchoes(join(folder, "dist"), [PAGE, ...WORKERS, "in a worker of its own"]);
});

test("rspack", needsBrowser, async () => {
  const folder = await project("rspack", { shared: ["report.js"] });
  await within(folder, "node", ["build.mjs"]);
  await folderEchoes(join(folder, "dist"), [PAGE, ...WORKERS, "in a worker of its own"]);
});

test("next, client and server", needsBrowser, async () => {
  const folder = await project("next", { shared: ["report.js"] });
  const next = bin(folder, "next/dist/bin/next");
  await within(folder, "node", [next, "build"]);
  const site = await start(folder, "node", [next, "start", "--port", "0", "--hostname", "localhost"], /http:\/\/localhost:\d+/, line());
  try {
    await pageEchoes(site.match[0], [PAGE, ...WORKERS]);
    const answer = await fetch(`${site.match[0]}/api/echo`);
    assert.equal(await answer.text(), "echoed: hello", site.said());
  } finally {
    await site.stop();
  }
});

test("vitest", async () => {
  const folder = await project("vitest", { shared: ["echo.mjs"] });
  const said = await within(folder, "node", [bin(folder, "vitest/vitest.mjs"), "run"], line());
  assert.match(said, /1 passed/);
});

test("jest", async () => {
  const folder = await project("jest");
  await within(folder, "node", [bin(folder, "jest/bin/jest.js")], line());
});

test("a server in memory, in vitest", async () => {
  const folder = await project("testing-vitest");
  recipes(folder, ["line.test.js"]);
  assert.match(await within(folder, "node", [bin(folder, "vitest/vitest.mjs"), "run"]), /Test Files +4 passed/);
});

test("a server in memory, in jest", async () => {
  const folder = await project("testing-jest");
  await within(folder, "node", [bin(folder, "jest/bin/jest.js")]);
});

test("ky, axios and tRPC over a line", async () => {
  const folder = await project("testing-clients");
  recipes(folder, ["clients.js"]);
  assert.match(await within(folder, "node", [bin(folder, "vitest/vitest.mjs"), "run"]), /Tests +3 passed/);
});

test("content security policy, the recipe", needsBrowser, async () => {
  const folder = await project("policy", { shared: ["report.js"] });
  recipes(folder, ["policy.js", "trusted.js"]);
  await within(folder, "node", [bin(folder, "vite/bin/vite.js"), "build"]);
  const { policy } = await import(pathToFileURL(join(folder, "policy.js")));
  const whole = policy(new URL(server.url).host);
  const contexts = ["page", "worker", "shared"];
  for (const [less, context] of [["", contexts], ["worker-src 'self'", ["page", "page", "page"]]]) {
    const header = (url) => ({ "content-security-policy": whole.replace(less, less && "worker-src 'none'").replace("connect-src", `connect-src ${url.searchParams.get("report") ?? ""}`) });
    const site = await serveFolder(join(folder, "dist"), header);
    try {
      const { said, contexts, violations } = await reportOf(site.address, server);
      assert.deepEqual([said, contexts], [[PAGE, ...WORKERS], context]);
      if (!less) assert.deepEqual(violations, []);
    } finally {
      site.stop();
    }
  }
});

test("example: React and Vite, by its proxy", needsBrowser, async () => {
  const folder = await example("react-vite");
  const env = { DUOLOGUE_SERVER: new URL(server.link).origin };
  const vite = await start(folder, "node", [bin(folder, "vite/bin/vite.js"), "--port", "0", "--host", "localhost"], /http:\/\/localhost:\d+/, env);
  try {
    assert.deepEqual(await used(vite.match[0], server, ["Hello.", "Is anybody there?"]), { state: "open", items: ["Hello.", "Is anybody there?"] });
  } finally {
    await vite.stop();
  }
  await within(folder, "node", [bin(folder, "vite/bin/vite.js"), "build"]);
});

test("example: Express behind link.fetch", needsBrowser, async () => {
  const folder = await example("express");
  const backend = await start(folder, "node", ["server.js"], /http:\/\/127\.0\.0\.1:\d+/, { PORT: "0" });
  const line = await startServer(["--http", backend.match[0]]);
  const env = { DUOLOGUE_SERVER: new URL(line.link).origin };
  const vite = await start(folder, "node", [bin(folder, "vite/bin/vite.js"), "--port", "0", "--host", "localhost"], /http:\/\/localhost:\d+/, env);
  try {
    assert.deepEqual(await used(vite.match[0], line, ["milk", "bread"]), { state: "open", items: ["milk", "bread"] });
    // Each device has its own.
    assert.deepEqual(await used(vite.match[0], line, ["other"]), { state: "open", items: ["other"] });
    assert.equal((await fetch(`${backend.match[0]}/api/notes`)).status, 401);
  } finally {
    await vite.stop();
    await backend.stop();
    line.stop();
  }
});

test("bun", needs("bun"), async () => {
  const folder = await project("bun", { shared: ["echo.mjs", "main.mjs"] });
  await programEchoes(folder, runtime(folder, "bun"), ["run", "main.mjs"]);
});

test("deno", needs("deno"), async () => {
  const folder = await project("deno", { shared: ["echo.mjs", "main.mjs"] });
  const args = ["run", "--no-config", "--node-modules-dir=manual", "--allow-all", "main.mjs"];
  const env = { DENO_CERT: server.certificate, DENO_DIR: join(folder, ".deno"), DENO_NO_UPDATE_CHECK: "1" };
  await programEchoes(folder, runtime(folder, "deno"), args, env);
});

test("workerd", needs("workerd"), async () => {
  const folder = await project("workerd");
  await within(folder, "node", ["build.mjs"]);
  cpSync(server.certificate, join(folder, "dist/cert.pem"));
  cpSync(join(folder, "config.capnp"), join(folder, "dist/config.capnp"));
  const env = { DUOLOGUE_URL: server.url, DUOLOGUE_INVITE: server.invite() };
  const workerd = await start(folder, runtime(folder, "workerd"), ["serve", "dist/config.capnp", "--verbose", "--control-fd=1"], /"listen".*"port":(\d+)/, env);
  try {
    const answer = await fetch(`http://127.0.0.1:${workerd.match[1]}/`);
    assert.equal(await answer.text(), "echoed: hello", workerd.said());
  } finally {
    await workerd.stop();
  }
});

test("esbuild, inline", needsBrowser, async () => {
  const folder = await project("esbuild", { shared: ["report.js"] });
  await within(folder, "node", ["build.mjs"]);
  await folderEchoes(join(folder, "dist"), [PAGE]);
});

test("rollup, inline", needsBrowser, async () => {
  const folder = await project("rollup", { shared: ["report.js"] });
  await within(folder, "node", [bin(folder, "rollup/dist/bin/rollup"), "--config", "rollup.config.mjs"]);
  cpSync(join(folder, "index.html"), join(folder, "dist/index.html"));
  await folderEchoes(join(folder, "dist"), [PAGE]);
});

test("parcel, which reads no exports", needsBrowser, async () => {
  const folder = await project("parcel", { shared: ["report.js"] });
  await within(folder, "node", [bin(folder, "parcel/lib/bin.js"), "build", "index.html", "--no-cache", "--cache-dir", ".cache", "--public-url", "./"]);
  await folderEchoes(join(folder, "dist"), [PAGE, ...WORKERS, "in a worker of its own"]);
});

test("an extension's service worker, without a bundler", needsBrowser, async () => {
  const folder = await project("extension");
  cpSync(bin(folder, "duologue/dist/inline.js"), join(folder, "duologue.js"));
  // With a key an extension's id is the same wherever it lies.
  const key = generateKeyPairSync("rsa", { modulusLength: 2_048 }).publicKey.export({ type: "spki", format: "der" });
  const id = [...createHash("sha256").update(key).digest("hex").slice(0, 32)].map((digit) => "abcdefghijklmnop"[parseInt(digit, 16)]).join("");
  const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  writeFileSync(join(folder, "manifest.json"), JSON.stringify({ ...manifest, key: key.toString("base64") }));
  const backend = await serve((request, response) => request.pipe(response.writeHead(201)));
  const serving = await startServing([`chrome-extension://${id}`], backend.address);
  const parameters = (report) => {
    const values = { URL: serving.url, INVITE: serving.invite(), REPORT: report };
    const lines = Object.entries(values).map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};\n`);
    writeFileSync(join(folder, "parameters.js"), lines.join(""));
  };
  try {
    assert.deepEqual(await extend(folder, serving, parameters, (next) => next()), {
      thrown: "TypeError", // or this test would show nothing
      named: 43,
      request: "a message",
      channel: "on a channel",
      stream: "in a stream",
      fetch: [201, "a body"],
      refused: "other-origin",
      kept: true,
      again: "again",
      unknown: "no-identity",
      worker: "worker-lost",
      forgotten: false,
    });
  } finally {
    serving.stop();
    backend.stop();
  }
});

for (const mode of ["strict", "loose"]) test(`react, hot reload, ${mode}`, needsBrowser, async () => {
  const folder = await project("react-refresh");
  const vite = await start(folder, "node", [bin(folder, "vite/bin/vite.js"), "--port", "0", "--host", "localhost"], /http:\/\/localhost:\d+/);
  const file = join(folder, "Echo.jsx");
  const edit = async (version, change) => {
    // A watcher takes two changes of one moment for one.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const next = readFileSync(file, "utf8").replace(/VERSION = \d/, `VERSION = ${version}`);
    // In one step, as editors save.
    writeFileSync(`${file}.next`, change(next));
    renameSync(`${file}.next`, file);
  };
  const edits = [
    (text) => text,
    (text) => text.replace("<p>", "<p title='other'>"),
    // Another hook: React mounts the component anew, with nothing of its state.
    (text) => text.replace("{ useEffect }", "{ useEffect, useState }").replace("const messages", "useState(0);\n  const messages"),
    (text) => text.replace("useState(0);\n  ", ""),
    (text) => `${text.replace("{view.state}<", "<Word text={view.state} /><")}\nfunction Word({ text }) {\n  return text;\n}\n`,
  ];
  try {
    await visit(`${vite.match[0]}#${mode}`, server, async (next) => {
      const messages = ["from version 1"];
      assert.deepEqual(await next(), { version: 1, links: 1, closed: 0, messages });
      for (const [index, change] of edits.entries()) {
        const version = index + 2;
        await edit(version, change);
        messages.push(`from version ${version}`);
        assert.deepEqual(await next(), { version, links: 1, closed: 0, messages }, vite.said());
      }
      // Whoever changes how it is opened wants it to be opened so.
      await edit(9, (text) => text.replace("() => open()", "() => open(true)"));
      assert.deepEqual(await next(), { version: 9, links: 2, closed: 1, messages: ["from version 9"] });
    });
  } finally {
    await vite.stop();
  }
});

test("react, StrictMode", needsBrowser, async () => {
  const folder = await project("react");
  const vite = await start(folder, "node", [bin(folder, "vite/bin/vite.js"), "--port", "0", "--host", "localhost"], /http:\/\/localhost:\d+/);
  try {
    const expected = { mounts: 2, state: "open", links: 1, sockets: 1, closed: ["normal"], messages: ["one", "two"] };
    assert.deepEqual(await reportOf(vite.match[0], server), expected);
  } finally {
    await vite.stop();
  }
});

for (const [name, ...files] of [["vue", "useLink.js", "Echo.vue"], ["svelte", "link.svelte.js", "Echo.svelte"]]) {
  test(`${name}, the recipe`, needsBrowser, async () => {
    const folder = await project(name, { shared: ["counted.js"] });
    recipes(folder, files);
    await within(folder, "node", [bin(folder, "vite/bin/vite.js"), "build"]);
    const site = await serveFolder(join(folder, "dist"));
    try {
      assert.deepEqual(await reportOf(site.address, server), { links: 1, sockets: 1, closed: ["normal"], left: "" });
    } finally {
      site.stop();
    }
  });
}

test("tsc without the DOM's types", async () => {
  const folder = await project("types-plain");
  const tsc = (...args) => within(folder, "node", [bin(folder, "typescript/bin/tsc"), "--project", "tsconfig.json", ...args]);
  await tsc();
  // Beside the declarations of others, whose names are the same.
  for (const [lib, ...types] of [["es2023", "node"], ["es2023,dom"], ["es2023,dom", "node"], ["es2023,webworker"]]) {
    await tsc("--lib", lib, ...types.flatMap((name) => ["--types", name]));
  }
  await tsc("--module", "esnext", "--moduleResolution", "bundler");
  writeFileSync(join(folder, "tsconfig.json"), readFileSync(join(folder, "tsconfig.json"), "utf8").replace('"main.ts"', '"main.ts", "disposed.ts"'));
  await tsc("--lib", "es2023,esnext.disposable");
});

test("tsc with moduleResolution node", async () => {
  const folder = await project("node10");
  const tsc = (...args) => within(folder, "node", [bin(folder, "typescript/bin/tsc"), "--project", "tsconfig.json", ...args]);
  await tsc();
  await tsc("--module", "esnext", "--lib", "es2023,dom");
});

/** That the compiler takes a project as it is, and that each misuse in it is an error for the reason that is meant. */
async function compiles(folder, misuses) {
  const tsc = (...args) => within(folder, "node", [bin(folder, "typescript/bin/tsc"), "--project", "tsconfig.json", ...args]);
  await tsc();
  const file = join(folder, "misuses.ts");
  writeFileSync(file, readFileSync(file, "utf8").replaceAll(/^ *\/\/ @ts-expect-error\n/gm, ""));
  await assert.rejects(tsc("--noEmit", "--pretty", "false"), (error) => {
    const codes = [...error.message.matchAll(/^misuses\.ts.*error (TS\d+)/gm)].map(([, code]) => code);
    assert.deepEqual(codes, misuses, error.message);
    return true;
  });
}

test("tsc --strict accepts the examples and rejects six misuses", async () => {
  await compiles(await project("types"), ["TS2345", "TS2322", "TS2322", "TS2353", "TS2322", "TS2353"]);
});

test("typed protocol, declared by the server's own message types", async () => {
  const folder = await project("typed");
  cpSync(declarations, join(folder, "protocol.d.ts"));
  await compiles(folder, ["TS2345", "TS2345", "TS2322", "TS18047", "TS2741", "TS2322", "TS2353", "TS2339"]);
  const example = await startExample();
  try {
    const env = { DUOLOGUE_URL: example.url, DUOLOGUE_INVITE: example.link, NODE_EXTRA_CA_CERTS: example.certificate };
    assert.match(await within(folder, "node", ["dist/main.js"], env), /^typed: ok$/m);
  } finally {
    example.stop();
  }
});

test("publint", async () => {
  const folder = await project("types");
  await within(folder, "node", [bin(folder, "publint/src/cli.js"), "run", "--strict", "node_modules/duologue"]);
});

test("arethetypeswrong", async () => {
  const folder = await project("types");
  const right = (...args) =>
    within(folder, "node", [bin(folder, "@arethetypeswrong/cli/dist/index.js"), process.env.DUOLOGUE_TARBALL, ...args]);
  // Left out: what an import of the .wasm gives is the tool's choice (a URL in Vite and webpack, a module in workerd, the
  // exports of an instance in Deno and newer Node.js), so that one declaration would be wrong in most.
  await right("--profile", "strict", "--exclude-entrypoints", "./worker", "./core.wasm");
  // The script of a module worker, which nobody loads by `require`.
  await right("--profile", "esm-only", "--entrypoints", "./worker");
});

if (process.env.DUOLOGUE_NAMES) console.log(names.join("\n"));
