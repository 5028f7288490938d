/**
 * A core that is in a worker, with the surface of the one that is here: `link.js`, `channel.js` and the others use either.
 *
 *   Link, Channel, … ─► Line (mirror: ids, room, what was taken, what has arrived) ══ port.js ══► worker.js ─► core Line
 *
 * What the core answers at once is answered by the mirror, which the worker's news keep up to date; it promises no more
 * than is known here. What arrives is here ahead of its reader, as far as port.js says, and the other end hears that it was
 * taken when the reader takes it.
 *
 * Until the core has reached its server, what is commanded waits here: if it cannot do so from where it is, another one can
 * from elsewhere (wire.js), and nothing has left yet.
 *
 * Errors are plain, with a code, as those of the core: this script is loaded only when it is asked for, apart from
 * `errors.js`, which the page has already.
 */

import * as Command from "./command.js";
import * as News from "./news.js";
import { MESSAGES_AHEAD_LEN, MESSAGE_COST, NO_KEY, Packer, STREAM_AHEAD_LEN } from "./port.js";
import { Way, failure } from "./wire.js";

const LABEL_LEN_MAX = 64;
/** Datagrams that may be on their way to the worker. */
const DATAGRAMS_AHEAD = 1_024;
/** Ends that may be those of a context alone. */
const ELSEWHERE = new Set(["unreachable", "blocked-by-policy"]);

const unopened = () => failure("unreachable", "the server cannot be reached");

/**
 * The core in a worker: `true` starts one, which ends with the link; `shared` starts or finds the one that all pages of this
 * origin share, and so does the URL of a script; else a worker, shared or not, that runs `worker.js`, or a port to one.
 * Rejects if the core can be nowhere.
 */
export async function reach(where, link) {
  const way = new Way(where, link);
  await way.begin();
  const ask = (name) => (argument) => way.ask(name, argument);
  return {
    parseInvite: ask("parseInvite"),
    serverFingerprint: ask("serverFingerprint"),
    deviceFingerprint: ask("deviceFingerprint"),
    Line: class extends Line {
      constructor(options) {
        super(way, options);
      }
    },
  };
}

/** A channel or stream, as far as it is known here. */
class Lane {
  ahead = 0; // bytes on their way to the worker
  isBlocked = false; // somebody waits for room
  taken = 0;
  allTaken = false;
  leftOut = new Set(); // ordinals of messages
  received = []; // what has come, and numbers: how much is missing before what follows
  missed = 0;
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
  #way;
  #options;
  #lanes = new Map();
  #nextNumber = 0;
  #changed = new Set();
  #took = new Set();
  #held = new Packer(); // what waits until the core has reached its server; none from then on
  #early = []; // datagrams that wait as long, and whose time runs
  #isMoving = false;
  #roundTrip;
  #shown; // [kind, data]: the newest evidence
  #ended; // [code, reason, by the peer]: the line has ended, unless there is another context

  constructor(way, options) {
    this.#way = way;
    this.#options = options;
    this.#start();
  }

  get #wire() {
    return this.#way.wire;
  }

  #start() {
    this.#wire.line = this;
    const { spki, ...others } = this.#options;
    // Without the callbacks, which JSON leaves out.
    const options = JSON.stringify({ ...others, lasts: this.#way.outlives });
    this.#wire.command().u8(Command.START).text(options).bytes(spki);
    this.#show();
    // Not behind the next task, which may be the page's first picture.
    this.#wire.flush();
  }

  #show() {
    if (this.#shown) this.#wire.command().u8(Command.SHOW).u8(this.#shown[0]).bytes(this.#shown[1]);
  }

  /** Its number is the worker's, which tells it with the standing. */
  show(kind, data) {
    this.#shown = [kind, data];
    this.#show();
  }

  open(label, isStream, step, tail) {
    const length = new TextEncoder().encode(label).length;
    if (length === 0 || length > LABEL_LEN_MAX) throw failure("bad-label", "a channel's label has 1 to 64 bytes");
    const id = this.#nextNumber;
    this.#nextNumber += 2;
    this.#lanes.set(id, new Lane());
    const command = this.#command(Command.OPEN, id).u8(Number(isStream)).u8(step);
    command.u8(Number(tail !== undefined)).u32(tail ?? 0).text(label);
    return id;
  }

  send(id, message) {
    const lane = this.#lane(id);
    const cost = message.length + MESSAGE_COST;
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
    // Whole, as its buffer is: there is room for several.
    if (bytes.length > STREAM_AHEAD_LEN - lane.ahead) {
      lane.isBlocked = true;
      return 0;
    }
    lane.ahead += bytes.length;
    this.#command(Command.WRITE, id).bytes(bytes);
    return bytes.length;
  }

  delivery(id, ordinal) {
    const lane = this.#lane(id);
    if (lane.leftOut.delete(ordinal)) return 2; // whoever asks settles it
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
    const got = this.#next(id);
    if (!got) return got;
    const [bytes, ends] = Array.isArray(got) ? got : [got, [0]];
    this.take(id, ends.length);
    return bytes;
  }

  recvAll(id) {
    const got = this.#next(id);
    return Array.isArray(got) ? this.#options.onMessages(...got) : got;
  }

  #next(id) {
    const lane = this.#lane(id);
    let got;
    while (typeof (got = lane.received.shift()) === "number") lane.missed = got;
    if (got !== undefined) return got;
    if (lane.over) return null;
    if (lane.ended) throw lane.ended;
    return undefined;
  }

  missed(id) {
    return this.#lane(id).missed;
  }

  discard(id) {
    this.#command(Command.DISCARD, id);
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
    if (this.#held) this.#early.push({ id, bytes, until: performance.now() + millis, key });
    else this.#command(Command.DATAGRAM, id).u32(millis).u32(key ?? NO_KEY).bytes(bytes);
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
    tellTaken(this.#commands, id, lane);
    this.#command(Command.RELEASE, id);
    this.#wire.command(false).spares = []; // idle, nothing is held
    this.#lanes.delete(id);
  }

  provideSignature(connection, signature) {
    this.#wire.command().u8(Command.SIGNATURE).u32(connection).bytes(signature);
  }

  followKey(key, hasWorked) {
    this.#wire.command().u8(Command.FOLLOW).text(key).u8(Number(hasWorked));
  }

  roundTrip() {
    return this.#roundTrip;
  }

  /** 2 if the page is left, and the browser keeps it. At once: it is about to be frozen. */
  wake(how = Number(globalThis.document?.visibilityState !== "hidden")) {
    this.#wire.command().u8(Command.WAKE).u8(how);
    this.#wire.flush();
  }

  close(reason) {
    if (this.#isMoving) this.#end("normal", reason, false);
    else this.#wire.command().u8(Command.CLOSE).text(reason);
  }

  /** At once: the page may be on its way out. */
  free() {
    this.#wire.command().u8(Command.FREE);
    this.#wire.flush();
  }

  #lane(id) {
    const lane = this.#lanes.get(id);
    if (!lane) throw failure("closed", "this channel is closed");
    return lane;
  }

  get #commands() {
    return this.#held ?? this.#wire.command();
  }

  #command(what, id) {
    return this.#commands.u8(what).u32(id);
  }

  /** The core has reached its server: what waited for that. */
  #settle() {
    if (!this.#held) return;
    this.#wire.post(this.#held);
    this.#held = undefined;
    const now = performance.now();
    for (const { id, bytes, until, key } of this.#early.splice(0)) {
      this.#command(Command.DATAGRAM, id).u32(Math.max(0, Math.ceil(until - now))).u32(key ?? NO_KEY).bytes(bytes);
    }
  }

  /** The core cannot do its work where it is: goes on elsewhere, with all that waits, or ends as it was told. */
  async #move(error) {
    if (this.#isMoving) return;
    this.#isMoving = true;
    try {
      await this.#way.next(error, () => this.#held !== undefined);
      this.#ended = undefined;
      this.#options.onState("connecting");
      this.#start();
    } catch {
      if (this.#ended) this.#end(...this.#ended);
    } finally {
      this.#isMoving = false;
    }
  }

  #end(code, reason, byPeer) {
    this.#endAll();
    this.#options.onClosed(code, reason, byPeer);
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
        this.#settle();
        return options.onSign(news.u32(), news.bytes());
      case News.OPENED:
        return options.onOpened(news.text(), news.view(), news.u32(), Boolean(news.u8()));
      case News.STANDING:
        return options.onStanding(news.view(), news.u32(), Boolean(news.u8()));
      case News.ALTERED:
        return options.onAltered(news.u32());
      case News.NOTE:
        return options.onNote(news.text(), news.u32(), news.text(), news.f64());
      case News.ROUND_TRIP:
        this.#roundTrip = news.f64();
        return;
      case News.STATE: {
        const state = news.text();
        if (state === "open" || state === "draining") this.#settle();
        return options.onState(state);
      }
      case News.RECORD: {
        const [outward, length, bytes] = [Boolean(news.u8()), news.u32(), news.view()];
        return options.onRecord(outward, bytes, length);
      }
      case News.CHANNEL: {
        const [id, isStream, label] = [news.u32(), Boolean(news.u8()), news.text()];
        this.#settle();
        this.#lanes.set(id, new Lane());
        return options.onChannel(id, label, isStream);
      }
      case News.FRESH: {
        const [code, reason] = [news.text(), news.text()];
        // What has not left belongs to no session yet.
        if (this.#held) return;
        options.onFresh(code, reason);
        for (const [id, lane] of this.#lanes) {
          if (!lane.ended) continue; // nothing of it had left: it goes on
          this.#lanes.delete(id);
          this.#changed.delete(id);
        }
        return;
      }
      case News.UNOPENED:
        if (this.#held) this.#move(unopened());
        return;
      case News.CLOSED: {
        const ended = [news.text(), news.text(), Boolean(news.u8())];
        if (!this.#held || !ELSEWHERE.has(ended[0])) return this.#end(...ended);
        this.#ended = ended;
        this.#move(failure(...ended));
        return;
      }
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
      case News.LEFT_OUT:
        return lane.leftOut.add(news.f64());
      case News.MISSED:
        return lane.received.push(news.f64());
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
  _lost(error) {
    if (!this.#held) return this.#options.onClosed(error.code, error.message, false);
    this.#ended = [error.code, error.message, false];
    this.#move(error);
  }
}
