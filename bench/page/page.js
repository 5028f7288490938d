/**
 * The benchmark's page: fetches the plan, measures every figure at every end, round by round, and posts what it measured.
 *
 *   GET /bench/plan ─► { rounds, ports, ends: [name], endsOnPath: [name], pathInvite, figures: [{ job, len, inFlight, path }] }
 *   rounds -2 to 0 (warm up, find out how many messages fill RUN_SECS) ─► rounds 1 to N ─► POST /bench/report
 *
 * The ends take turns within each figure, and each round begins with another of them, so that what the machine does beside
 * the measurement meets all of them alike. Units are messages a second and, of round trips, milliseconds.
 */

import { echo, roundTrip, sink, source } from "./jobs.js";
import * as duologue from "./end-duologue.js";
import * as libp2p from "./end-libp2p.js";
import * as socketio from "./end-socketio.js";
import * as websocket from "./end-websocket.js";

const ENDS = { duologue, worker: duologue.inWorker, libp2p, socketio, websocket };
/** Rounds until the engine has compiled what runs often, ours and the others': the first two take up to four times as long. */
const WARM_UPS = 3;
/** How long each run is to take: many times what a timer or a collection of garbage adds. */
const RUN_SECS = 0.5;
/** The first run's messages and bytes, of which it has the fewer. */
const FIRST_COUNT = 2_000;
const FIRST_LEN = 16 * 1_024 * 1_024;

const report = (what) => fetch("/bench/report", { method: "POST", body: JSON.stringify(what) });

async function main() {
  const plan = await (await fetch("/bench/plan")).json();
  const opened = async (names, where) => {
    const ends = [];
    for (const name of names) ends.push({ name, ...(await ENDS[name].open(plan.ports, where)) });
    return ends;
  };
  const here = await opened(plan.ends, { host: location.host, invite: location.href });
  const onPath = await opened(plan.endsOnPath, { host: `localhost:${plan.ports.path}`, invite: plan.pathInvite });
  const counts = new Map();
  const measured = [];
  for (let round = 1 - WARM_UPS; round <= plan.rounds; round++) {
    for (const [number, figure] of plan.figures.entries()) {
      const ends = figure.path ? onPath : here;
      for (let turn = 0; turn < ends.length; turn++) {
        const end = ends[(turn + round + WARM_UPS) % ends.length];
        if (!canMeasure(end, figure)) continue;
        const key = `${number} ${end.name}`;
        const count = counts.get(key) ?? Math.min(FIRST_COUNT, Math.ceil(FIRST_LEN / figure.len));
        const { value, secs } = await measure(end, figure, count);
        counts.set(key, Math.max(2, Math.round((count / secs) * RUN_SECS)));
        if (round > 0) measured.push({ figure: number, end: end.name, value });
      }
    }
    if (round >= 0) await report({ progress: round });
  }
  await report({ results: measured });
}

/** Only what has priorities can press keys beside a flood. */
const canMeasure = (end, { job }) => !job.startsWith("keys-") || end.own?.[job] !== undefined;

/** One run. An end without a job of its own does what a message can do in its place. */
async function measure(end, { job, len, inFlight }, count) {
  const own = end.own?.[job];
  const started = performance.now();
  let value;
  if (job === "sink" || job === "sink-stream") value = await (own ?? sink)(end.lane, count, len);
  else if (job === "source" || job === "source-stream") value = await (own ?? source)(end.lane, count, len);
  else if (job === "echo") value = await echo(end.lane, count, len, inFlight);
  else if (job.startsWith("keys-")) value = await own(end.lane, count, len);
  else if (job === "round-trip" || job === "request") value = await (own ?? roundTrip)(end.lane, count, len);
  else throw new Error(`there is no job ${job}`);
  return { value, secs: (performance.now() - started) / 1_000 };
}

const fail = (error) => report({ failure: String(error?.stack ?? error) });
addEventListener("unhandledrejection", (event) => fail(event.reason));
addEventListener("error", (event) => fail(event.error ?? event.message));
main().catch(fail);
