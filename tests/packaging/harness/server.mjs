/** The real server of development, with a fresh state, and invites to it. */

import { execFileSync, spawn } from "node:child_process";
import { X509Certificate, createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const binary = process.env.DUOLOGUE_BIN;

export async function startServer() {
  const state = mkdtempSync(join(tmpdir(), "duologue-packaging-"));
  const child = spawn(binary, ["dev", "--port", "0", "--state", state], { stdio: ["pipe", "pipe", "ignore"] });
  const link = await new Promise((resolve, reject) => {
    createInterface(child.stdout).on("line", (line) => line.startsWith("ready ") && resolve(line.slice("ready ".length)));
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the server has ended with ${code}`)));
  });
  const certificate = join(state, "tls-cert.pem");
  const key = new X509Certificate(readFileSync(certificate)).publicKey.export({ type: "spki", format: "der" });
  return {
    url: `wss://${new URL(link).host}/line`,
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
