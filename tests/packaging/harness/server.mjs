/** Real servers, each with a fresh state, and invites to them. */

import { execFileSync, spawn } from "node:child_process";
import { X509Certificate, createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const binary = process.env.DUOLOGUE_BIN;

/** What the example's pages speak, in TypeScript. */
export const declarations = join(dirname(fileURLToPath(import.meta.url)), "../../../server/examples/json/protocol.d.ts");

/** The server of development. */
export const startServer = () => started(binary, (state) => ["dev", "--port", "0", "--state", state]);

/** The server library in an app of its own, which speaks JSON; its one invite is `link`. */
export const startExample = () => started(process.env.DUOLOGUE_EXAMPLE, (state) => [state]);

async function started(program, args) {
  const state = mkdtempSync(join(tmpdir(), "duologue-packaging-"));
  const child = spawn(program, args(state), { stdio: ["pipe", "pipe", "ignore"] });
  const link = await new Promise((resolve, reject) => {
    createInterface(child.stdout).on("line", (line) => line.startsWith("ready ") && resolve(line.slice("ready ".length)));
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${program} has ended with ${code}`)));
  });
  const certificate = join(state, "tls-cert.pem");
  const key = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: "spki", format: "der" });
  return {
    url: `wss://${new URL(link).host}/line`,
    link,
    certificate,
    /** For browsers, which then trust the certificate. */
    pin: createHash("sha256").update(key).digest("base64"),
    /** A new invite link, good for one device. */
    invite: () => execFileSync(binary, ["invite", "new", "--state", state], { encoding: "utf8" }).trim().split("\n").at(-1),
    stop: () => {
      child.removeAllListeners("exit");
      child.kill();
      rmSync(state, { recursive: true, force: true });
    },
  };
}
