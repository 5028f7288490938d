/**
 * A project of its own for each case: the files of `projects/NAME` (and what several share), its packages from the registry,
 * and duologue from the tarball. What is installed is kept for the next time, as long as it would be the same.
 */

import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const sources = join(dirname(fileURLToPath(import.meta.url)), "../projects");
const tarball = process.env.DUOLOGUE_TARBALL;
const run = promisify(execFile);
const PATIENCE_MILLIS = 240_000;

/** Lays an app of `examples/` out as a project; its folder. A script beside it uses the page as a person does. */
export async function example(name) {
  const folder = await project(`example-${name}`, { from: join(sources, "../../../examples", name), shared: ["used.js"] });
  const page = join(folder, "index.html");
  writeFileSync(page, `${readFileSync(page, "utf8")}  <script type="module" src="/used.js"></script>\n`);
  return folder;
}

/** Lays the project out; its folder. */
export async function project(name, { from = join(sources, name), shared = [] } = {}) {
  const folder = join(process.env.DUOLOGUE_MATRIX, name);
  mkdirSync(folder, { recursive: true });
  for (const entry of readdirSync(folder)) {
    if (!["node_modules", ".installed"].includes(entry)) rmSync(join(folder, entry), { recursive: true });
  }
  // Without what somebody has installed or built there.
  cpSync(from, folder, { recursive: true, filter: (file) => !/\/(node_modules|dist)$/.test(file) });
  const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  // It is the tarball, which whoever runs an example by hand has made too.
  const own = manifest.dependencies?.duologue ?? `/${basename(tarball)}`;
  if (!own.endsWith(`/${basename(tarball)}`)) throw new Error(`${from}/package.json names ${own}, not ${basename(tarball)}`);
  delete manifest.dependencies?.duologue;
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
  for (const file of shared) cpSync(join(sources, "shared", file), join(folder, file));
  const stamp = createHash("sha256").update(readFileSync(join(folder, "package.json"))).update(readFileSync(tarball)).digest("hex");
  const stampFile = join(folder, ".installed");
  if (!existsSync(stampFile) || readFileSync(stampFile, "utf8") !== stamp) {
    rmSync(stampFile, { force: true });
    // Nothing old of a tarball with the same name.
    rmSync(join(folder, "node_modules/duologue"), { recursive: true, force: true });
    const flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
    await within(folder, "npm", ["install", ...flags, tarball]);
    writeFileSync(stampFile, stamp);
  }
  return folder;
}

/** The script of a package's command. */
export const bin = (folder, path) => join(folder, "node_modules", path);

/** Runs a program in a folder; its stdout. An error has all that it said. */
export async function within(folder, program, args, env = {}) {
  try {
    const options = { cwd: folder, env: surroundings(env), timeout: PATIENCE_MILLIS, maxBuffer: 64 * 1_024 * 1_024 };
    return (await run(program, args, options)).stdout;
  } catch (error) {
    throw new Error(`${program} ${args.join(" ")}: ${error.message}\n${error.stdout}\n${error.stderr}`);
  }
}

/** Starts a server in a folder, and waits until it says something that matches; the match, and how to stop it. */
export async function start(folder, program, args, pattern, env = {}) {
  const child = spawn(program, args, { cwd: folder, env: surroundings(env), stdio: ["ignore", "pipe", "pipe"], detached: true });
  const stop = async () => {
    const ended = new Promise((resolve) => (child.exitCode === null && child.signalCode === null ? child.once("exit", resolve) : resolve()));
    try {
      process.kill(-child.pid, "SIGKILL"); // and what it has started
    } catch {
      // It has ended already.
    }
    await ended;
  };
  let said = "";
  try {
    const match = await new Promise((resolve, reject) => {
      const hear = (line) => {
        said += `${line}\n`;
        // Without the colours of a terminal.
        const found = line.replace(/\x1b\[[0-9;]*m/g, "").match(pattern);
        if (found) resolve(found);
      };
      createInterface(child.stdout).on("line", hear);
      createInterface(child.stderr).on("line", hear);
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`${program} has ended with ${code}: ${said}`)));
      setTimeout(() => reject(new Error(`${program} is not ready: ${said}`)), 60_000).unref();
    });
    return { match, stop, said: () => said };
  } catch (error) {
    await stop();
    throw error;
  }
}

function surroundings(env) {
  // Nothing of this test runner, which would make a child of node's report to it.
  const { NODE_TEST_CONTEXT, NODE_OPTIONS, CI, ...inherited } = process.env;
  return { ...inherited, NEXT_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1", NO_COLOR: "1", ...env };
}
