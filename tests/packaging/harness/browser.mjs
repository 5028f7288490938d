/**
 * Chromium, started plainly: the page itself reports how it went, to a collector of its own, so that nothing slows it or is
 * installed for it. Folders are served as any static server would.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";

const KINDS = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".css": "text/css" };
const PATIENCE_MILLIS = 60_000;

/** A server of this machine. */
export async function serve(handler) {
  const server = createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { address: `http://localhost:${server.address().port}`, stop };
}

async function remove(folder) {
  for (let again = 20; ; again--) {
    try {
      return rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      if (again === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Serves the files of a folder, with headers that may depend on the address. */
export const serveFolder = (folder, headersFor = () => ({})) =>
  serve(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    const path = normalize(url.pathname);
    try {
      const body = await readFile(join(folder, path.endsWith("/") ? `${path}index.html` : path));
      response.writeHead(200, { "content-type": KINDS[extname(path) || ".html"] ?? "application/octet-stream", ...headersFor(url) });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });

/** Opens `address` and waits for what the page reports. */
export const reportOf = (address, server) => visit(address, server, (next) => next());

/** Opens an example with an invite in its address, and writes these lines into its form; what the page then shows. */
export const used = (address, server, lines) =>
  browse(server, (next) => next(), (collector) => {
    const url = new URL(address);
    url.search = new URLSearchParams({ report: collector, lines: JSON.stringify(lines) });
    url.hash = new URL(server.invite()).hash;
    return [url.href];
  });

/** Opens `address`; `work` is given a function that waits for the page's next report. */
export const visit = (address, server, work) =>
  browse(server, work, (collector) => {
    const url = new URL(address);
    url.search = new URLSearchParams({ report: collector, url: server.url, invite: server.invite() });
    return [url.href];
  });

/** Starts a browser that opens nothing but what an extension in `folder` does, once `prepare` has written where it reports. */
export const extend = (folder, server, prepare, work) =>
  browse(server, work, (collector) => {
    prepare(collector);
    // Chromium loads no extension at the command line without the second.
    return [`--load-extension=${folder}`, "--disable-features=DisableLoadExtensionCommandLineSwitch", "about:blank"];
  });

async function browse(server, work, argumentsFor) {
  const reports = [];
  let hear = () => {};
  let fail;
  const broken = new Promise((_, reject) => (fail = reject));
  broken.catch(() => {}); // whoever waits hears it
  const collector = await serve((request, response) => {
    response.writeHead(200, { "access-control-allow-origin": "*" });
    let body = "";
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      response.end();
      if (request.method !== "POST") return;
      reports.push(JSON.parse(body));
      hear();
    });
  });
  const profile = mkdtempSync(join(tmpdir(), "duologue-chromium-"));
  const flags = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", `--user-data-dir=${profile}`,
    `--ignore-certificate-errors-spki-list=${server.pin}`, ...argumentsFor(collector.address),
  ];
  const browser = spawn(process.env.CHROMIUM, flags, { stdio: ["ignore", "ignore", "pipe"], detached: true });
  let said = "";
  browser.stderr.on("data", (piece) => (said += piece));
  browser.once("error", (error) => fail(error));
  browser.once("exit", (code) => fail(new Error(`Chromium has ended with ${code}: ${said}`)));
  const next = async () => {
    const timer = setTimeout(() => {
      const console = said.split("\n").filter((line) => line.includes("CONSOLE"));
      fail(new Error(`the page reported nothing: ${console.join("\n") || said.slice(-2_000)}`));
    }, PATIENCE_MILLIS);
    try {
      while (reports.length === 0) await Promise.race([new Promise((resolve) => (hear = resolve)), broken]);
      return reports.shift();
    } finally {
      clearTimeout(timer);
    }
  };
  try {
    return await work(next);
  } finally {
    browser.removeAllListeners("exit");
    const ended = new Promise((resolve) => browser.once("exit", resolve));
    process.kill(-browser.pid, "SIGKILL"); // and what it has started, which may outlive it by a moment
    await ended;
    collector.stop();
    await remove(profile);
  }
}
