/** Real servers, each with a fresh state, and invites to them. */

import { execFileSync, spawn } from "node:child_process";
import { X509Certificate, createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const binary = process.env.DUOLOGUE_BIN;

/** What the example's pages speak, in TypeScript. */
export const declarations = join(dirname(fileURLToPath(import.meta.url)), "../../../server/examples/json/protocol.d.ts");

/** The server of development. */
export const startServer = (options = []) => started(binary, (state) => ["dev", "--port", "0", "--state", state, ...options]);

/** The server library in an app of its own, which speaks JSON; its one invite is `link`. */
export const startExample = () => started(process.env.DUOLOGUE_EXAMPLE, (state) => [state]);

/** A server as its owner runs it, which serves pages of these origins too, with a backend below `link.fetch`. */
export async function startServing(origins, backend) {
  const { certificate, stop: forget, halt } = await startServer();
  halt();
  const state = mkdtempSync(join(tmpdir(), "duologue-packaging-"));
  const port = await freePort();
  const url = `https://localhost:${port}`;
  const args = [
    "serve", "--url", url, "--listen", `127.0.0.1:${port}`, "--state", state, "--http", backend,
    "--cert", certificate, "--key", certificate.replace("tls-cert", "tls-key"), ...origins.flatMap((origin) => ["--origin", origin]),
  ];
  const child = spawn(binary, args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (piece) => (said += piece));
  const server = of(child, state, certificate, port);
  const stop = () => [server.stop, forget].forEach((each) => each());
  for (let again = 100; !(await answers(port)); again--) {
    if (again > 0 && child.exitCode === null) continue;
    stop();
    throw new Error(`duologue ${args.join(" ")}: ${said}`);
  }
  return { ...server, stop };
}

/** A port that was free a moment ago. */
async function freePort() {
  const socket = createServer();
  await new Promise((resolve) => socket.listen(0, "127.0.0.1", resolve));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(resolve));
  return port;
}

/** If somebody listens there, after a moment. */
async function answers(port) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true) || socket.destroy());
    socket.once("error", () => resolve(false));
  });
}

async function started(program, args, { certificate } = {}) {
  const state = mkdtempSync(join(tmpdir(), "duologue-packaging-"));
  const child = spawn(program, args(state), { stdio: ["pipe", "pipe", "ignore"] });
  const link = await new Promise((resolve, reject) => {
    createInterface(child.stdout).on("line", (line) => line.startsWith("ready ") && resolve(line.slice("ready ".length)));
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${program} has ended with ${code}`)));
  });
  return { ...of(child, state, join(state, "tls-cert.pem"), new URL(link).port), link };
}

function of(child, state, certificate, port) {
  const key = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: "spki", format: "der" });
  const halt = () => {
    child.removeAllListeners("exit");
    child.kill();
  };
  return {
    url: `wss://localhost:${port}/line`,
    certificate,
    /** For browsers, which then trust the certificate. */
    pin: createHash("sha256").update(key).digest("base64"),
    /** A new invite link, good for one device. */
    invite: () => execFileSync(binary, ["invite", "new", "--state", state], { encoding: "utf8" }).trim().split("\n").at(-1),
    /** Ends it, and leaves its state. */
    halt,
    stop: () => {
      halt();
      rmSync(state, { recursive: true, force: true });
    },
  };
}
