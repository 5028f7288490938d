/**
 * A core that is in a worker, with the surface of the one that is here: `link.js`, `channel.js` and the others use either.
 *
 *   Link, Channel, … ─► Line (mirror: ids, room, what was taken, what has arrived) ══ port.js ══► worker.js ─► core Line
 *
 * What the core answers at once is answered by the mirror, which the worker's news keep up to date; it promises no more
 * than is known here. Commands of one task leave as one message. What arrives is here ahead of its reader, as far as
 * port.js says, and the other end hears that it was taken when the reader takes it.
 *
 * A worker that ends tells nobody: it holds a lock, and this end waits for that lock. So does a shared worker for a lock of
 * each page, since other pages may outlive it.
 *
 * Errors are plain, with a code, as those of the core: this script is loaded only when it is asked for, apart from
 * `errors.js`, which the page has already.
 */

import * as Command from "./command.js";
import * as News from "./news.js";
import { MESSAGES_AHEAD_LEN, MESSAGE_COST, NO_KEY, Packer, STREAM_AHEAD_LEN, Unpacker, VERSION } from "./port.js";

/** How long a worker may take to load its script and answer. */
const START_MILLIS = 30_000;
/** How long a worker of ours outlives its line: the browser has yet to send the last record. */
const LINGER_MILLIS = 1_000;
const MESSAGE_LEN_MAX = 16 * 1_024 * 1_024;
const LABEL_LEN_MAX = 64;
/** Datagrams that may be on their way to the worker. */
const DATAGRAMS_AHEAD = 1_024;

const failure = (code, message) => Object.assign(new Error(message), { code });

/**
 * The core in a worker: `true` starts one, which ends with the link; `shared` starts or finds the one that all pages of this
 * origin share; else a worker, shared or not, that runs `worker.js`, or a port to one. Rejects with `worker-lost`.
 */
export async function reach(where, ended) {
  const worker = where === "shared" ? share() : where === true ? start() : where;
  const isOurs = where === true || (where === "shared" && worker instanceof Worker);
  const isPort = typeof worker.start === "function";
  const { port1, port2 } = new MessageChannel();
  const wire = new Wire(isPort ? worker : port1);
  // A script that does not load has no message.
  const isLost = ({ message }) => wire.fail(message ? `it has failed (${message}).` : "its script cannot be loaded.");
  if (!isPort) {
    worker.addEventListener("error", isLost);
    (worker.port ?? worker).postMessage(undefined, [port2]);
  }
  ended.then(() => {
    wire.end();
    worker.removeEventListener("error", isLost);
    if (isOurs) setTimeout(() => worker.terminate(), LINGER_MILLIS);
  });
  await wire.greet(isPort || worker.port !== undefined);
  const ask = (name) => (argument) => wire.ask(name, argument);
  return {
    parseInvite: ask("parseInvite"),
    serverFingerprint: ask("serverFingerprint"),
    deviceFingerprint: ask("deviceFingerprint"),
    Line: class extends Line {
      constructor(options) {
        super(wire, options);
      }
    },
  };
}

const start = () => made(() => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "duologue" }));

/** Where browsers have none, each page has a worker of its own. */
function share() {
  if (!globalThis.SharedWorker) return start();
  return made(() => new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name: "duologue-3" }));
}

function made(make) {
  try {
    return make();
  } catch (error) {
    throw failure("worker-lost", `The worker of this link cannot be started: ${error.message}`);
  }
}

/** The port, and what leaves through it at the end of a task. */
class Wire {
  line; // hears the news
  #port;
  #commands = new Packer();
  #isDue = false;
  #flushed = false; // a microtask of this task has flushed
  #nextTaskIsDue = false;
  #pace = new MessageChannel(); // the way to the next task
  #asked = new Map();
  #numbers = 0;
  #ready; // { resolve, reject }
  #lost;
  #stop = new AbortController();

  constructor(port) {
    this.#port = port;
    this.#pace.port2.onmessage = () => {
      this.#nextTaskIsDue = false;
      this.#flushed = false;
      this.flush();
    };
  }

  /** `isShared` if the worker may outlive this page. */
  async greet(isShared) {
    const lock = `duologue-worker:${crypto.randomUUID()}`;
    const own = isShared && navigator.locks ? `duologue-page:${crypto.randomUUID()}` : "";
    this.#port.onmessage = ({ data }) => {
      this.#flushed = false;
      this.#hear(new Unpacker(data));
    };
    this.#port.onmessageerror = () => this.fail("what it said cannot be read.");
    const timer = setTimeout(() => this.fail("it did not answer."), START_MILLIS);
    const ready = new Promise((resolve, reject) => (this.#ready = { resolve, reject }));
    const said = this.#hold(own).then(() => {
      this.command().u8(Command.HELLO).u8(VERSION).text(lock).text(own);
      this.flush();
    });
    try {
      await Promise.all([ready, said]);
    } finally {
      clearTimeout(timer);
    }
    const { signal } = this.#stop;
    navigator.locks?.request(lock, { signal }, () => this.fail("it was ended.")).catch(() => {}); // this end was first
  }

  /** Holds a lock, if one is named, until the link has ended or the page has gone. */
  async #hold(lock) {
    if (lock === "") return;
    const ended = new Promise((resolve) => this.#stop.signal.addEventListener("abort", resolve));
    await new Promise((held) => navigator.locks.request(lock, () => (held(), ended)));
  }

  ask(name, argument) {
    const number = this.#numbers++;
    const bytes = typeof argument === "string" ? new TextEncoder().encode(argument) : argument;
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost);
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
    if (!this.#commands.isEmpty && !this.#lost) this.#commands.post(this.#port);
  }

  /** The worker is gone, or as good as that. */
  fail(why) {
    if (this.#lost) return;
    const error = (this.#lost = failure("worker-lost", `The worker of this link is lost: ${why}`));
    this.#ready?.reject(error);
    for (const { reject } of this.#asked.values()) reject(error);
    this.line?._lost(error);
  }

  /** The link has ended. */
  end() {
    this.#lost ??= failure("closed", "The line has ended.");
    this.#ready?.reject(this.#lost);
    for (const { reject } of this.#asked.values()) reject(this.#lost);
    this.#stop.abort();
    for (const port of [this.#port, this.#pace.port1, this.#pace.port2]) port.close();
  }

  #hear(news) {
    while (!news.isEmpty && !this.#lost) {
      const what = news.u8();
      if (what === News.READY) this.#ready.resolve();
      else if (what === News.FAILED) this.fail(`it has failed (${news.text()}).`);
      else if (what === News.ANSWER) this.#answered(news.u32(), news.u8(), JSON.parse(news.text()));
      else this.line._hear(what, news);
    }
    if (!this.#lost) this.line?._heardAll();
  }

  #answered(number, failed, answer) {
    const { resolve, reject } = this.#asked.get(number);
    this.#asked.delete(number);
    if (failed) reject(failure(answer.code, answer.message));
    else resolve(answer);
  }
}

/** A channel or stream, as far as it is known here. */
class Lane {
  ahead = 0; // bytes on their way to the worker
  isBlocked = false; // somebody waits for room
  taken = 0;
  allTaken = false;
  received = [];
  took = 0; // of these, and the worker does not know it
  over = false; // after `received` nothing comes
  ended; // why, if before its time
  left = 0; // then: messages up to this ordinal may have left
  datagrams = [];
  saw = 0; // as `took`
  given = 0; // datagrams
  dropped = 0; // datagrams, here
  handled = 0; // datagrams, by the worker
  stats = [0, 0, 0, 0, 0, 0];
}

/** Room for so much on the way to the worker, or for one message of any length; who finds none will be told of it. */
function hasRoom(lane, cost) {
  const has = lane.ahead === 0 || lane.ahead + cost <= MESSAGES_AHEAD_LEN;
  lane.isBlocked ||= !has;
  return has;
}

function tellTaken(commands, id, lane) {
  if (lane.took > 0) commands.u8(Command.TOOK).u32(id).u32(lane.took);
  if (lane.saw > 0) commands.u8(Command.SEEN).u32(id).u32(lane.saw);
  lane.took = 0;
  lane.saw = 0;
}

class Line {
  #wire;
  #options;
  #lanes = new Map();
  #nextNumber = 0;
  #changed = new Set();
  #took = new Set();

  constructor(wire, options) {
    this.#wire = wire;
    this.#options = options;
    wire.line = this;
    const { spki, ...others } = options;
    // Without the callbacks, which JSON leaves out.
    wire.command().u8(Command.START).text(JSON.stringify(others)).bytes(spki);
  }

  open(label) {
    return this.#open(label, false);
  }

  openStream(label) {
    return this.#open(label, true);
  }

  send(id, message) {
    const lane = this.#lane(id);
    const cost = message.length + MESSAGE_COST;
    if (message.length > MESSAGE_LEN_MAX) {
      const sentence = `the message has ${message.length} bytes; the other end takes at most ${MESSAGE_LEN_MAX}`;
      throw failure("message-too-long", sentence);
    }
    if (!hasRoom(lane, cost)) return false;
    lane.ahead += cost;
    this.#command(Command.SEND, id).bytes(message);
    return true;
  }

  sendAll(id, bytes, ends) {
    const lane = this.#lane(id);
    let [count, cost] = [0, 0];
    while (count < ends.length && hasRoom(lane, ends[count] + (count + 1) * MESSAGE_COST)) {
      cost = ends[count] + ++count * MESSAGE_COST;
    }
    if (count === 0) return 0;
    lane.ahead += cost;
    const commands = this.#command(Command.SEND_ALL, id);
    commands.bytes(bytes.subarray(0, ends[count - 1])).ends(ends.subarray(0, count));
    return count;
  }

  write(id, bytes) {
    const lane = this.#lane(id);
    const written = Math.min(bytes.length, STREAM_AHEAD_LEN - lane.ahead);
    if (written < bytes.length) lane.isBlocked = true;
    if (written === 0) return 0;
    lane.ahead += written;
    this.#command(Command.WRITE, id).bytes(bytes.subarray(0, written));
    return written;
  }

  delivery(id, ordinal) {
    const lane = this.#lane(id);
    if (ordinal <= lane.taken) return 1;
    if (!lane.ended) return 0;
    return ordinal <= lane.left ? 3 : 2;
  }

  taken(id) {
    return this.#lane(id).taken;
  }

  allTaken(id) {
    return this.#lane(id).allTaken;
  }

  broken(id) {
    return this.#lane(id).ended;
  }

  /** Of a stream, whose bytes may come together. */
  recv(id) {
    const got = this.recvAll(id);
    if (!got) return got;
    const [bytes, ends] = Array.isArray(got) ? got : [got, [0]];
    this.take(id, ends.length);
    return bytes;
  }

  recvAll(id) {
    const lane = this.#lane(id);
    const got = lane.received.shift();
    if (got !== undefined) return got;
    if (lane.over) return null;
    if (lane.ended) throw lane.ended;
    return undefined;
  }

  take(id, count) {
    const lane = this.#lanes.get(id);
    if (!lane) return;
    lane.took += count;
    this.#willTell(id, lane);
  }

  sendDatagram(id, bytes, millis, key) {
    const lane = this.#lane(id);
    if (lane.given - lane.handled >= DATAGRAMS_AHEAD) {
      lane.dropped++;
      return;
    }
    lane.given++;
    this.#command(Command.DATAGRAM, id).u32(millis).u32(key ?? NO_KEY).bytes(bytes);
  }

  recvDatagram(id) {
    const lane = this.#lane(id);
    const datagram = lane.datagrams.shift();
    if (datagram) {
      lane.saw++;
      this.#willTell(id, lane);
    }
    return datagram;
  }

  datagramStats(id) {
    const { stats, dropped } = this.#lane(id);
    const [sent, expired, replaced, overflowed, ...rest] = stats;
    return [sent, expired, replaced, overflowed + dropped, ...rest];
  }

  finish(id) {
    this.#command(Command.FINISH, id);
  }

  reset(id, code) {
    this.#command(Command.RESET, id).u32(code);
  }

  release(id) {
    const lane = this.#lanes.get(id);
    if (!lane) return;
    tellTaken(this.#wire.command(), id, lane);
    this.#command(Command.RELEASE, id);
    this.#lanes.delete(id);
  }

  provideSignature(connection, signature) {
    this.#wire.command().u8(Command.SIGNATURE).u32(connection).bytes(signature);
  }

  wake() {
    this.#wire.command().u8(Command.WAKE).u8(Number(globalThis.document?.visibilityState !== "hidden"));
  }

  close(reason) {
    this.#wire.command().u8(Command.CLOSE).text(reason);
  }

  /** At once: the page may be on its way out. */
  free() {
    this.#wire.command().u8(Command.FREE);
    this.#wire.flush();
  }

  #open(label, isStream) {
    const length = new TextEncoder().encode(label).length;
    if (length === 0 || length > LABEL_LEN_MAX) throw failure("bad-label", "a channel's label has 1 to 64 bytes");
    const id = this.#nextNumber;
    this.#nextNumber += 2;
    this.#lanes.set(id, new Lane());
    this.#command(Command.OPEN, id).u8(Number(isStream)).text(label);
    return id;
  }

  #lane(id) {
    const lane = this.#lanes.get(id);
    if (!lane) throw failure("closed", "this channel is closed");
    return lane;
  }

  #command(what, id) {
    return this.#wire.command().u8(what).u32(id);
  }

  /** What the application takes can wait for whatever else this task brings. */
  #willTell(id, lane) {
    if (lane.ended) return;
    this.#took.add(id);
    this.#wire.command(false);
  }

  /** @private Before commands leave. */
  _tellTaken(commands) {
    for (const id of this.#took) {
      const lane = this.#lanes.get(id);
      if (lane) tellTaken(commands, id, lane);
    }
    this.#took.clear();
  }

  /** @private */
  _hear(what, news) {
    const options = this.#options;
    switch (what) {
      case News.SIGN:
        return options.onSign(news.u32(), news.bytes());
      case News.OPENED:
        return options.onOpened(news.text());
      case News.STATE:
        return options.onState(news.text());
      case News.RECORD: {
        const [outward, length, bytes] = [Boolean(news.u8()), news.u32(), news.view()];
        return options.onRecord(outward, bytes, length);
      }
      case News.CHANNEL: {
        const [id, isStream, label] = [news.u32(), Boolean(news.u8()), news.text()];
        this.#lanes.set(id, new Lane());
        return options.onChannel(id, label, isStream);
      }
      case News.FRESH: {
        this.#endAll();
        options.onFresh(news.text(), news.text());
        this.#lanes.clear();
        this.#changed.clear();
        this.#wire.command().u8(Command.RENEWED);
        return;
      }
      case News.CLOSED:
        this.#endAll();
        return options.onClosed(news.text(), news.text(), Boolean(news.u8()));
      default: {
        const id = news.u32();
        // News of a lane that was released here is read, and of no use.
        if (this.#hearOf(this.#lanes.get(id) ?? new Lane(), what, news)) this.#changed.add(id);
      }
    }
  }

  /** Of those that the worker has told nothing about it knows nothing: what was sent on them has not left. */
  #endAll() {
    for (const lane of this.#lanes.values()) lane.ended ??= failure("closed", "The line has ended.");
  }

  /** True if it concerns those who use the lane. */
  #hearOf(lane, what, news) {
    switch (what) {
      case News.ROOM: {
        lane.ahead -= news.u32();
        const wasBlocked = lane.isBlocked;
        lane.isBlocked = false;
        return wasBlocked;
      }
      case News.TAKEN:
        lane.taken = news.f64();
        lane.allTaken = Boolean(news.u8());
        return true;
      case News.MESSAGE:
        return lane.received.push(news.bytes());
      case News.MESSAGES:
        return lane.received.push([news.bytes(), news.ends()]);
      case News.END:
        return (lane.over = true);
      case News.ENDED:
        lane.ended = failure(news.text(), news.text());
        lane.left = news.f64();
        return true;
      case News.DATAGRAM:
        return lane.datagrams.push(news.bytes());
      case News.STATS:
        lane.handled = news.u32();
        lane.stats = lane.stats.map(() => news.f64());
        return false;
      default:
        throw new Error(`there is no news ${what}`);
    }
  }

  /** @private Tells those who use the lanes, once for each. */
  _heardAll() {
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const id of changed) if (this.#lanes.has(id)) this.#options.onChanged(id);
  }

  /** @private */
  _lost({ code, message }) {
    this.#options.onClosed(code, message, false);
  }
}
