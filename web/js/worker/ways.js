/**
 * Where a line goes on when its first context cannot have it: loaded only then.
 *
 *   the socket did not open ─► does the server answer the page's own `fetch`? ─► no: it is down, and nothing would help
 *                                       │ yes                     (browsers do not let every context reach what a page may:
 *                                       ▼                          a certificate that its person has accepted, for one)
 *   a script, policy or storage that is refused ─► the next of wire.js's contexts, once there is a place for its line
 *
 * A server keeps 16 lines of a device. Where the tabs of a browser have one each, they take places, which are Web Locks; the
 * 17th waits, and tells so by the state `waiting`, instead of ending the first.
 */

import { answers } from "../probe.js";

/** Lines that a server keeps of one device: `LINES_OF_A_DEVICE_MAX` there. */
const LINES_MAX = 16;
/** How often somebody who waits for a place looks for one. */
const AGAIN_MILLIS = 500;

/** Opens `way` in its next context that answers, if `isWanted` still; else throws `error`, or what the last one said. */
export async function next(way, error, isWanted = () => true) {
  way.rest ??= others(way);
  if (way.rest.length === 0 || (error.code === "unreachable" && !(await answers(way.link.url)))) throw error;
  if (isWanted()) await takePlaceOnce(way);
  way.link.onLeft(error);
  let why = error;
  while (way.rest.length > 0 && isWanted()) {
    try {
      const [wire, context] = await way.open(way.rest.shift());
      if (isWanted()) return way.use(wire, context);
      wire.leave();
    } catch (another) {
      why = another;
    }
  }
  throw why;
}

/** Where the core may be if not in the first: a worker of this page, and its own thread. */
function others(way) {
  const { where } = way;
  const start = where instanceof URL ? () => new Worker(where, { type: "module", name: "duologue" }) : way.start;
  const serve = () => {
    const { port1, port2 } = new MessageChannel();
    way.serve(port2);
    return port1;
  };
  const isOwn = where === true || "terminate" in Object(where);
  return [...(isOwn ? [] : [["worker", start, true]]), ["page", serve]];
}

async function takePlaceOnce(way) {
  // Else a line for each is what its page has asked for.
  const isForTabs = way.where === "shared" || way.where instanceof URL || "port" in Object(way.where);
  if (way.hasPlace || !isForTabs) return;
  way.hasPlace = true;
  await takePlace(way.link);
}

/** Holds one of the places of this device until the link has ended. */
export async function takePlace({ url, ended, onState }) {
  const places = Array.from({ length: LINES_MAX }, (_, number) => `duologue-line:${url.host}${url.pathname}:${number}`);
  try {
    for (const place of places) if (await take(place, ended)) return;
    onState("waiting");
    let isOver = false;
    ended.then(() => (isOver = true));
    for (;;) {
      // Not by waiting for the locks: a tab that shows a dialogue would be given one after the other, and use none.
      await new Promise((again) => setTimeout(again, AGAIN_MILLIS));
      if (isOver) return;
      for (const place of places) if (await take(place, ended)) return onState("connecting");
    }
  } catch {
    // There are no locks here: a line too many ends another, which says so.
  }
}

/** True if the place was free, and is held from now on. */
function take(place, ended) {
  return new Promise((resolve, reject) => {
    const hold = (lock) => (resolve(lock !== null), lock && ended);
    navigator.locks.request(place, { ifAvailable: true }, hold).catch(reject);
  });
}
