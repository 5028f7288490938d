/**
 * The page of the group `loaded`: when it is there with all that it needs, it connects, says one thing and waits for the reply.
 *
 *   POST /bench/loaded/report { end, millis } ─► where to go next, or nothing
 */

import { connect, parseInvite } from "/duologue.js";

const bytes = crypto.getRandomValues(new Uint8Array(64));

const ENDS = {
  async duologue() {
    const link = connect({ url: `wss://${location.host}/line`, invite: location.href });
    await link.request("echo", bytes);
  },
  async websocket() {
    const socket = new WebSocket(`wss://${location.host}/bench/websocket`);
    const replied = new Promise((resolve, reject) => {
      socket.onmessage = resolve;
      socket.onerror = () => reject(new Error("the bare WebSocket does not open"));
    });
    socket.onopen = () => {
      socket.send(new TextEncoder().encode(JSON.stringify({ job: "echo", count: 1, len: bytes.length })));
      socket.send(bytes);
    };
    await replied;
  },
};

async function main() {
  const end = new URLSearchParams(location.search).get("end");
  // Which takes the module: it is there from then on. Only the first load of an end has its link.
  const link = location.hash ? location.href : sessionStorage.getItem("link");
  sessionStorage.setItem("link", link);
  await parseInvite(link);
  const begun = performance.now();
  await ENDS[end]();
  return { end, millis: performance.now() - begun };
}

const report = async (what) => {
  const next = await (await fetch("/bench/loaded/report", { method: "POST", body: JSON.stringify(what) })).text();
  if (next) location.href = next;
};
main().then(report, (error) => report({ failure: String(error?.stack ?? error) }));
