/**
 * A shared line between two pages: the last one has gone, and another may come, in a worker that outlives its pages, as Chromium's
 * do if they are asked to. And what ends it for all pages: that its key is forgotten. Loaded when such a line is open.
 *
 *   the last page goes ─► AWAY ─► `Gone` ─┬─ a page of this build comes ─► HERE: the line, its session and its socket are its own
 *                                         ├─ the time is over, the device forgotten, a page of another build has a worker
 *                                         │  ─► CLOSE `normal`
 *                                         └─ meanwhile nothing is taken, and the core does not dial
 *
 * Whoever comes next may be somebody else. The server takes what was proved back when it hears AWAY; until it has said so, what is
 * told here is no more than a device has.
 */

/** How long a line waits unless it is told, and at most. */
const GRACE_MILLIS = 20_000;
const GRACE_MILLIS_MAX = 300_000;

const others = new BroadcastChannel("duologue");
const waiting = new Set();
/** Those that pages may join, by name. */
let lines;
/** A worker of another build has come after this one. */
let isSuperseded = false;

others.onmessage = ({ data: { build, forgotten } }) => {
  isSuperseded ||= build !== undefined && build !== globalThis.name;
  if (isSuperseded) for (const gone of waiting) gone.end();
  for (const held of lines?.values() ?? []) if (held.place === forgotten) held.close("The identity was forgotten.", true);
};

/** A line of this worker is open. */
export function begin(joinable) {
  if (!lines) others.postMessage({ build: globalThis.name });
  lines = joinable;
}

/**
 * Waits for a page as the last one has asked for, and calls `over` if none comes; without that, for as long as the browser keeps the last
 * one. None if it has not asked, or the server cannot be told.
 */
export function wait(page, line, over) {
  const { lasts, grace = GRACE_MILLIS } = page.given;
  return lasts && grace > 0 && !isSuperseded && line.here(false) ? new Gone(page, line, Math.min(grace, GRACE_MILLIS_MAX), over) : undefined;
}

class Gone {
  channels = []; // that the other end had opened before it heard of it
  #page;
  #line;
  #timer;
  #over;

  constructor(page, line, millis, over) {
    this.#page = page;
    this.#line = line;
    this.#over = over;
    if (!over) return;
    this.#timer = setTimeout(() => this.end(), millis);
    waiting.add(this);
  }

  /** A page has come, to which belongs what has come meanwhile. */
  meet(page) {
    this.#stop();
    this.#line.here(true);
    this.#line.wake(); // the device may have slept
    // It knows its lanes by a line that it does not hold yet.
    queueMicrotask(() => this.channels.forEach((channel) => page.onChannel(...channel)));
  }

  #stop() {
    clearTimeout(this.#timer);
    return waiting.delete(this);
  }

  end() {
    if (!this.#stop()) return;
    this.#over();
    this.#page.stop();
  }
}

/** A standing as whoever comes next has it, as far as it is known before the server has told: a device's, and nobody's. */
export function fallen(standing) {
  return standing[0] < 2 ? standing : Uint8Array.of(1, 0, ...standing.subarray(2, 6), 0, 0, 0, 0, 0, 0);
}
