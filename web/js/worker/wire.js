/**
 * The way from a page to the worker that holds its line, and what goes along it: commands of one task as one message (port.js).
 *
 *   Way: a shared worker ─► a worker of this page ─► this page's own thread, as far as one cannot be used (ways.js)
 *    └ Wire: the port of the one that is used now
 *
 * A worker that ends tells nobody: it holds a lock, and this end waits for that lock. So does a shared worker for a lock of
 * each page, since other pages may outlive it.
 *
 * Errors are plain, with a code, as those of the core.
 */

import * as Command from "./command.js";
import * as News from "./news.js";
import { Packer, Unpacker, VERSION } from "./port.js";
import { BUILD } from "../platform.js";
import { LINGER_MILLIS, Served } from "./served.js";

/** How long a worker may take to load its script and answer. */
const START_MILLIS = 30_000;

export const failure = (code, message) => Object.assign(new Error(message), { code });

const start = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "duologue" });

/** The name has the build: pages of another one have another worker. Where workers can outlive their pages, that is asked for. */
const lasting = (way) => ({
  type: "module",
  name: `duologue${BUILD}`,
  get extendedLifetime() {
    return (way.outlives = true);
  },
});

/** As `lasting`, spelled out: Vite reads the type from here. */
const share = (way) =>
  new SharedWorker(new URL("./worker.js", import.meta.url), {
    type: "module",
    name: `duologue${BUILD}`,
    get extendedLifetime() {
      return (way.outlives = true);
    },
  });

/** As [the word for it, how it is made, is it ours to end]. */
function first(where) {
  if (where === true) return ["worker", start, true];
  if (where === "shared") return ["shared", share];
  if (where instanceof URL) return ["shared", (way) => new SharedWorker(where, lasting(way))];
  return [where.port ? "shared" : "worker", () => where];
}

/** One context after the other, until the core in one has reached its server. */
export class Way {
  wire;
  where;
  link; // { url, ended, onContext, onState }
  outlives = false; // does the worker, its pages?
  #moving; // to the next context
  start = start;
  serve = (port) => new Served(port);

  constructor(where, link) {
    this.where = where;
    this.link = link;
    link.ended.then(() => this.wire?.leave());
  }

  async begin() {
    try {
      this.use(...(await this.open(first(this.where))));
    } catch (error) {
      await this.next(error);
    }
  }

  /** Goes on in the next context, if that can help and `isWanted` still; else throws why not. Once for all who ask for it. */
  next(error, isWanted) {
    return (this.#moving ??= this.#next(error, isWanted).finally(() => (this.#moving = undefined)));
  }

  async #next(error, isWanted) {
    const ways = await import("./ways.js").catch(() => {
      throw error.code === "worker-lost" ? failure("not-loaded", `${error.message} Nor can anything else.`) : error;
    });
    await ways.next(this, error, isWanted);
  }

  use(wire, context) {
    this.wire?.leave();
    this.wire = wire;
    this.link.onContext(context);
  }

  /** A wire to a context that has answered, and the word for that. */
  async open([context, make, isOurs]) {
    let worker;
    try {
      worker = make(this);
    } catch (error) {
      throw failure("worker-lost", `The worker of this link cannot be started: ${error.message}`);
    }
    const isPort = typeof worker.start === "function";
    const { port1, port2 } = new MessageChannel();
    // A script that does not load has no message.
    const isLost = ({ message }) => wire.fail(message ? `it has failed (${message}).` : "its script cannot be loaded.");
    const wire = new Wire(isPort ? worker : port1, () => {
      worker.removeEventListener("error", isLost);
      if (isOurs) setTimeout(() => worker.terminate(), LINGER_MILLIS);
    });
    if (!isPort) {
      worker.addEventListener("error", isLost);
      (worker.port ?? worker).postMessage(undefined, [port2]);
    }
    try {
      await wire.greet(context !== "page" && (isPort || worker.port !== undefined));
    } catch (error) {
      wire.leave();
      throw error;
    }
    return [wire, context];
  }

  async ask(name, argument) {
    for (;;) {
      const { wire } = this;
      try {
        return await wire.ask(name, argument);
      } catch (error) {
        if (error !== wire.lost) throw error;
        // Several may have been asked of the context that is lost, and the line may have been there.
        if (wire === this.wire) await this.next(error);
      }
    }
  }
}

/** The port, and what leaves through it at the end of a task. */
export class Wire {
  line; // hears the news
  lost; // why nothing comes or goes any more
  #port;
  #left;
  #commands = new Packer();
  #isDue = false;
  #flushed = false; // a microtask of this task has flushed
  #nextTaskIsDue = false;
  #pace = new MessageChannel(); // the way to the next task
  #asked = new Map();
  #numbers = 0;
  #ready; // { resolve, reject }
  #stop = new AbortController();

  /** `left` is called when it is used no more. */
  constructor(port, left) {
    this.#port = port;
    this.#left = left;
    this.#pace.port2.onmessage = () => {
      this.#nextTaskIsDue = false;
      this.#flushed = false;
      this.flush();
    };
  }

  /** `isShared` if the worker may outlive this page. */
  async greet(isShared) {
    const lock = `duologue-worker:${crypto.randomUUID()}`;
    this.#port.onmessage = ({ data }) => {
      this.#flushed = false;
      this.#commands.spares.push(...data.spent);
      this.#hear(new Unpacker(data));
    };
    this.#port.onmessageerror = () => this.fail("what it said cannot be read.");
    const timer = setTimeout(() => this.fail("it did not answer."), START_MILLIS);
    const ready = new Promise((resolve, reject) => (this.#ready = { resolve, reject }));
    this.command().u8(Command.HELLO).u8(VERSION).text(lock);
    this.flush();
    // Which may take longer than all else, and the page tells by itself that it goes, unless it dies.
    if (isShared && navigator.locks) this.#hold(`duologue-page:${crypto.randomUUID()}`);
    try {
      await ready;
    } finally {
      clearTimeout(timer);
    }
    const { signal } = this.#stop;
    navigator.locks?.request(lock, { signal }, () => this.fail("it was ended.")).catch(() => {}); // this end was first
  }

  /** Holds a lock until the link has ended or the page has gone, and says so. */
  #hold(lock) {
    const ended = new Promise((resolve) => this.#stop.signal.addEventListener("abort", resolve));
    const held = () => {
      if (!this.lost) this.command().u8(Command.HELD).text(lock);
      return ended;
    };
    navigator.locks.request(lock, held).catch((error) => this.fail(error.message));
  }

  ask(name, argument) {
    const number = this.#numbers++;
    const bytes = typeof argument === "string" ? new TextEncoder().encode(argument) : argument;
    return new Promise((resolve, reject) => {
      if (this.lost) return reject(this.lost);
      this.#asked.set(number, { resolve, reject });
      this.command().u8(Command.ASK).u32(number).text(name).bytes(bytes);
    });
  }

  /** Where the next command goes. It leaves in a microtask, with all others of this tick; what comes after that in the same
   * task, and what can wait, leaves in the next one. */
  command(isUrgent = true) {
    if (isUrgent && !this.#flushed && !this.#isDue) {
      this.#isDue = true;
      queueMicrotask(() => {
        this.#flushed = true;
        this.flush();
      });
    } else if (!this.#isDue && !this.#nextTaskIsDue) {
      this.#nextTaskIsDue = true;
      this.#pace.port1.postMessage(undefined);
    }
    return this.#commands;
  }

  flush() {
    this.#isDue = false;
    this.line?._tellTaken(this.#commands);
    this.post(this.#commands);
  }

  post(commands) {
    if (!commands.isEmpty && !this.lost) commands.post(this.#port);
  }

  /** The worker is gone, or as good as that. */
  fail(why, code = "worker-lost") {
    if (this.lost) return;
    this.#lose(failure(code, code === "worker-lost" ? `The worker of this link is lost: ${why}` : why));
    this.line?._lost(this.lost);
  }

  #lose(error) {
    this.lost ??= error;
    this.#ready?.reject(this.lost);
    for (const { reject } of this.#asked.values()) reject(this.lost);
  }

  /** The link has ended, or goes on in another context. */
  leave() {
    this.line = undefined;
    if (!this.lost) {
      this.command().u8(Command.FREE);
      this.flush();
    }
    this.#lose(failure("closed", "The line has ended."));
    this.#stop.abort();
    for (const port of [this.#port, this.#pace.port1, this.#pace.port2]) port.close();
    this.#left();
  }

  #hear(news) {
    while (!news.isEmpty && !this.lost) {
      const what = news.u8();
      if (what === News.READY) this.#ready.resolve();
      else if (what === News.FAILED) this.#failed(news.text(), news.text());
      else if (what === News.ANSWER) this.#answered(news.u32(), news.u8(), JSON.parse(news.text()));
      else this.line._hear(what, news);
    }
    if (!this.lost) this.line?._heardAll();
  }

  #failed(code, message) {
    this.fail(code === "worker-lost" ? `it has failed (${message}).` : message, code);
  }

  #answered(number, failed, answer) {
    const { resolve, reject } = this.#asked.get(number);
    this.#asked.delete(number);
    if (failed) reject(failure(answer.code, answer.message));
    else resolve(answer);
  }
}
