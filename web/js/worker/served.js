/**
 * The work of a worker that holds lines for pages: socket, cryptography and timers are here, and none of it waits for
 * what a page does, nor makes it wait. Where there can be no worker, a page does it itself, for itself.
 *
 *   page: remote.js ══ port.js ══► Served ─► held.js ─► core Line ─► WebSocket
 *                   ◄═ one message ═ Served ◄─ onChanged: looked at once, at the end of the task
 *
 * Each port that is posted to the worker is one link of a page. In a shared worker the links of one device to one server
 * have one line. What a port may hold ahead is bounded both ways (port.js); the rest waits in the core, whose bounds are
 * felt at the other end. The device key never comes here: what is to be signed goes to the page.
 */

import * as Command from "./command.js";
import { core, ready } from "../core.js";
import { Held } from "./held.js";
import * as News from "./news.js";
import { MESSAGE_COST, NO_KEY, Packer, STREAM_AHEAD_LEN, UNTAKEN_LEN, Unpacker, VERSION } from "./port.js";

/** How soon datagrams whose fate is open are looked at again: nothing tells that one has passed its deadline. */
const STATS_MILLIS = 25;
/** How long news may wait that nobody acts on: records that were seen, the progress of a stream. */
const SOON_MILLIS = 25;

/** How often the page is told of the line's round trip. */
const ROUND_TRIP_MILLIS = 1_000;

/** Room that the page is told of while something waits. */
const ROOM_LEN_MIN = STREAM_AHEAD_LEN / 2;

/** What the core says of a message. */
const NOT_SENT = 2;

const served = new Set();
/** How long a worker outlives its last line: the browser has yet to send the last record. */
export const LINGER_MILLIS = 1_000;

/** A channel or stream. */
class Lane {
  waiting = []; // { bytes, at, ends? }: the core has no room for what is from `at` on
  room = 0; // what has found its place since the page heard of it
  finish = ""; // `wanted` while something waits, then `done`
  accepted = 0; // messages
  leavesOut = false; // some of them may be left out
  missed = 0;
  taken = 0;
  allTaken = false;
  untaken = []; // what each MESSAGE cost that the application has not taken
  untakenLen = 0;
  unseen = []; // the same for datagrams
  unseenLen = 0;
  over = false; // no MESSAGE follows
  ended = false;
  datagrams = 0; // given by the page
  stats; // as last told; none while there are no datagrams
  timer; // of the next look at them

  constructor(number, id, isStream) {
    this.number = number;
    this.id = id;
    this.isStream = isStream;
  }
}

/** One link of a page. */
export class Served {
  given; // the options of its START
  #port;
  #held;
  #line; // the core's, of `#held`
  #lanes = new Map(); // by number
  #changed = new Set();
  #news = new Packer();
  #isDue = false;
  #isUrgent = false;
  #soon; // the timer of what can wait
  #nextNumber = 1;
  #toldRoundTripAt = 0;
  #unlock = () => {};

  constructor(port) {
    this.#port = port;
    // Commands wait, in order, until the core is here.
    port.onmessage = ({ data }) =>
      ready().then(
        () => this.#handle(data),
        // Here, where its policy is, it shows what it was.
        (error) => import("../why.js").then(({ causeOf }) => this.fail(causeOf(error))).catch(() => this.fail(error)),
      );
    // But not this one.
    port.addEventListener("message", ({ data }) => this.#greet(new Unpacker(data)), { once: true });
    served.add(this);
  }

  /** What goes wrong here is no fault of the page's, and nothing is known of the line any more. */
  fail(error) {
    if (!served.delete(this)) return;
    this.#changed.clear();
    const code = typeof error?.code === "string" ? error.code : "worker-lost";
    this.#tell().u8(News.FAILED).text(code).text(error?.message ?? String(error));
    this.#post(true);
    this.#free();
  }

  /** A worker that could outlive its pages does so for a line that waits, and for nothing else. */
  stop() {
    if (this.given?.lasts) setTimeout(() => served.size + Held.all.size || globalThis.close(), LINGER_MILLIS);
  }

  #greet(command) {
    command.u8();
    const version = command.u8();
    if (version !== VERSION) return this.fail(new Error(`version ${version} is not ${VERSION}`));
    const isReady = () => this.#tell().u8(News.READY);
    if (!navigator.locks) return isReady();
    // It is let go when this worker ends, however it does: nothing else would tell the page.
    navigator.locks.request(command.text(), () => {
      isReady();
      return new Promise((resolve) => (this.#unlock = resolve));
    });
  }

  #free() {
    served.delete(this);
    this.#port.onmessage = null;
    this.#unlock();
    this.#held?.leave(this, Array.from(this.#lanes.values(), ({ id }) => id));
    this.#lanes.clear();
    this.#held = undefined;
    this.#line = undefined;
    this.stop();
  }

  #release(lane) {
    this.#lanes.delete(lane.number);
    this.#changed.delete(lane);
    this.#held.release(lane.id);
  }

  // Commands.

  #handle(message) {
    try {
      const commands = new Unpacker(message);
      while (!commands.isEmpty && served.has(this)) this.#apply(commands.u8(), commands);
    } catch (error) {
      this.fail(error);
    }
  }

  #apply(what, command) {
    switch (what) {
      case Command.HELLO:
        return void (command.u8(), command.text());
      case Command.HELD:
        // The lock of a page which others outlive.
        return void navigator.locks.request(command.text(), () => this.#free());
      case Command.ASK:
        return this.#answer(command.u32(), command.text(), command.bytes());
      case Command.START:
        return this.#start(JSON.parse(command.text()), command.bytes());
      case Command.OPEN:
        return this.#open(command);
      case Command.SHOW:
        return this.#show(command.u8(), command.bytes());
      case Command.SIGNATURE:
        return this.#line && this.#held.sign(command.u32(), command.bytes());
      case Command.WAKE: {
        const how = command.u8();
        return how === 2 ? this.#held?.rest(this) : this.#held?.wake(this, how);
      }
      case Command.FOLLOW:
        return this.#held?.line.followKey(command.text(), command.u8() === 1);
      case Command.CLOSE:
        return this.#close(command.text());
      case Command.FREE:
        return this.#free();
      default:
        return this.#applyTo(this.#lanes.get(command.u32()), what, command);
    }
  }

  /** `lane` is undefined when its session has ended and the page has not heard of it: the fields are read all the same. */
  #applyTo(lane, what, command) {
    switch (what) {
      case Command.SEND:
      case Command.SEND_ALL:
      case Command.WRITE: {
        const bytes = command.view();
        const ends = what === Command.SEND_ALL ? command.ends() : undefined;
        lane?.waiting.push({ bytes, ends, at: 0 });
        // The second of two waits for the first.
        if (lane?.waiting.length === 1) this.#accept(lane);
        return;
      }
      case Command.TOOK: {
        const count = command.u32();
        if (!lane) return;
        for (const cost of lane.untaken.splice(0, count)) lane.untakenLen -= cost;
        this.#line.take(lane.id, count);
        return this.#look(lane);
      }
      case Command.SEEN: {
        const count = command.u32();
        if (!lane) return;
        for (const cost of lane.unseen.splice(0, count)) lane.unseenLen -= cost;
        return this.#look(lane);
      }
      case Command.FINISH:
        if (!lane) return;
        lane.finish = "wanted";
        return this.#accept(lane);
      case Command.DISCARD: {
        if (!lane) return;
        lane.leavesOut = !lane.isStream;
        // What waits for room in the core is thrown away there too, where it is counted.
        let waiting;
        do {
          waiting = lane.waiting.length;
          this.#line.discard(lane.id);
          this.#accept(lane);
        } while (lane.waiting.length < waiting);
        this.#line.discard(lane.id);
        return this.#look(lane);
      }
      case Command.RESET: {
        const code = command.u32();
        if (lane) this.#line.reset(lane.id, code);
        return;
      }
      case Command.RELEASE:
        return lane && this.#release(lane);
      case Command.DATAGRAM: {
        const [millis, key, bytes] = [command.u32(), command.u32(), command.view()];
        if (!lane) return;
        lane.datagrams++;
        lane.stats ??= [];
        try {
          this.#line.sendDatagram(lane.id, bytes, millis, key === NO_KEY ? undefined : key);
        } catch {
          // The lane has ended, which its news tells.
        }
        return this.#look(lane);
      }
      default:
        throw new Error(`there is no command ${what}`);
    }
  }

  #answer(number, name, argument) {
    const asked = {
      parseInvite: () => core.parseInvite(new TextDecoder().decode(argument)),
      serverFingerprint: () => core.serverFingerprint(new TextDecoder().decode(argument)),
      deviceFingerprint: () => core.deviceFingerprint(argument),
    };
    try {
      const answer = JSON.stringify(asked[name]());
      this.#tell().u8(News.ANSWER).u32(number).u8(0).text(answer);
    } catch ({ code, message }) {
      this.#tell().u8(News.ANSWER).u32(number).u8(1).text(JSON.stringify({ code, message }));
    }
  }

  #start(options, spki) {
    this.given = options;
    this.#held = Held.of(this, options, spki);
    this.#line = this.#held.line;
  }

  #show(kind, data) {
    this.#held?.show(kind, data);
  }

  /** Of a line that others use, only what is this link's own. */
  #close(reason) {
    if (!this.#held || this.#held.close(reason)) return;
    for (const lane of Array.from(this.#lanes.values())) {
      while (this.#hand(lane)); // what has arrived can still be read
      this.#held.cancel(lane.id);
      this.#end(lane, { code: "closed", message: "The line has ended." });
      this.#release(lane);
    }
    this.#tell().u8(News.CLOSED).text("normal").text(reason).u8(0);
  }

  #open(command) {
    const [number, isStream, step] = [command.u32(), Boolean(command.u8()), command.u8()];
    const [isTail, most, label] = [Boolean(command.u8()), command.u32(), command.text()];
    try {
      const id = this.#line.open(label, isStream, step, isTail ? most : undefined);
      this.#add(number, id, isStream).leavesOut = isTail && !isStream;
    } catch (error) {
      this.#tellEnd(number, error, 0);
    }
  }

  #add(number, id, isStream) {
    const lane = new Lane(number, id, isStream);
    this.#lanes.set(number, lane);
    this.#held.own(id, () => this.#look(lane));
    return lane;
  }

  /** Gives the core what waits, as far as there is room, and then the end. */
  #accept(lane) {
    try {
      while (lane.waiting.length > 0) {
        const next = lane.waiting[0];
        if (lane.isStream) {
          const written = this.#line.write(lane.id, next.bytes.subarray(next.at));
          next.at += written;
          lane.room += written;
          if (next.at < next.bytes.length) break;
        } else if (next.ends) {
          const start = next.ends[next.at - 1] ?? 0;
          const count = this.#line.sendAll(lane.id, next.bytes.subarray(start), next.ends.subarray(next.at).map((end) => end - start));
          next.at += count;
          lane.accepted += count;
          lane.room += (next.ends[next.at - 1] ?? 0) - start + count * MESSAGE_COST;
          if (next.at < next.ends.length) break;
        } else {
          if (!this.#line.send(lane.id, next.bytes)) break;
          lane.accepted++;
          lane.room += next.bytes.length + MESSAGE_COST;
        }
        this.#news.spend(lane.waiting.shift().bytes);
      }
    } catch (error) {
      // Else the lane has ended, which its news tells.
      if (error?.code === "message-too-long") this.#end(lane, error);
    }
    if (lane.finish === "wanted" && lane.waiting.length === 0) {
      this.#line.finish(lane.id);
      lane.finish = "done";
    }
    this.#look(lane);
  }

  // News of the line.

  onRecord(outward, bytes) {
    const seen = bytes.subarray(0, this.given.observedLen);
    this.#tell(true).u8(News.RECORD).u8(Number(outward)).u32(bytes.length).bytes(seen);
  }

  onUnopened() {
    this.#tell().u8(News.UNOPENED);
  }

  onSign(connection, message) {
    this.#tell().u8(News.SIGN).u32(connection).bytes(message);
  }

  onOpened(ticket, services, shown, isAsked) {
    this.#tell().u8(News.OPENED).text(ticket).bytes(services).u32(shown).u8(Number(isAsked));
  }

  onStanding(standing, shown, isAsked) {
    this.#tell().u8(News.STANDING).bytes(standing).u32(shown).u8(Number(isAsked));
  }

  onAltered(count) {
    this.#tell().u8(News.ALTERED).u32(count);
  }

  onNote(what, connection, word, millis) {
    this.#tell().u8(News.NOTE).text(what).u32(connection).text(word).f64(millis);
  }

  onState(state) {
    this.#tell().u8(News.STATE).text(state);
  }

  onFresh(code, reason) {
    for (const lane of Array.from(this.#lanes.values())) {
      if (!this.#line.broken(lane.id)) continue; // nothing of it had left: it goes on
      this.#end(lane, { code: "closed", message: "The line has ended." });
      this.#lanes.delete(lane.number);
      this.#changed.delete(lane);
    }
    this.#tell().u8(News.FRESH).text(code).text(reason);
  }

  onChannel(id, label, isStream) {
    const lane = this.#add(this.#nextNumber, id, isStream);
    this.#nextNumber += 2;
    this.#tell().u8(News.CHANNEL).u32(lane.number).u8(Number(isStream)).text(label);
    this.#look(lane);
  }

  onClosed(code, reason, byPeer) {
    this.#endAll();
    this.#tell().u8(News.CLOSED).text(code).text(reason).u8(Number(byPeer));
  }

  // News of its lanes.

  /**
   * Where the next entry goes. All that this task brings leaves together, after what the core does in its own microtask; what
   * can wait leaves with that, or soon.
   */
  #tell(canWait = false) {
    if (canWait) {
      this.#soon ??= setTimeout(() => this.#post(true), SOON_MILLIS);
    } else {
      this.#isUrgent = true;
      this.#schedule();
    }
    return this.#news;
  }

  /** There may be news of a lane. */
  #look(lane) {
    this.#changed.add(lane);
    this.#schedule();
  }

  #schedule() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => queueMicrotask(() => this.#post(false)));
  }

  #post(isSoon) {
    for (const lane of this.#changed) if (this.#line) this.#lookAt(lane);
    this.#changed.clear();
    this.#isDue = isSoon && this.#isDue;
    if (!this.#isUrgent && !isSoon) return;
    clearTimeout(this.#soon);
    this.#soon = undefined;
    this.#isUrgent = false;
    this.#tellRoundTrip();
    if (!this.#news.isEmpty) this.#news.post(this.#port);
  }

  /** With other news, and not with each. */
  #tellRoundTrip() {
    const now = performance.now();
    if (this.#news.isEmpty || !this.#line || now - this.#toldRoundTripAt < ROUND_TRIP_MILLIS) return;
    const roundTrip = this.#line.roundTrip();
    if (roundTrip === undefined) return;
    this.#toldRoundTripAt = now;
    this.#news.u8(News.ROUND_TRIP).f64(roundTrip);
  }

  #lookAt(lane) {
    if (lane.ended || this.#lanes.get(lane.number) !== lane) return;
    const broken = this.#line.broken(lane.id);
    if (broken) return this.#end(lane, broken);
    this.#accept(lane);
    this.#tellRoom(lane);
    this.#tellTaken(lane);
    while (lane.untakenLen < UNTAKEN_LEN && this.#hand(lane));
    while (lane.unseenLen < UNTAKEN_LEN && this.#handDatagram(lane));
    this.#tellStats(lane);
  }

  /** While something waits, little room is not worth a message, and more room will come; who writes a stream needs no little. */
  #tellRoom(lane) {
    if (lane.room < (lane.isStream || lane.waiting.length > 0 ? ROOM_LEN_MIN : 1)) return;
    this.#tell().u8(News.ROOM).u32(lane.number).u32(lane.room);
    lane.room = 0;
  }

  #tellTaken(lane) {
    // Before its end, whether that is all is the page's to say.
    const [taken, allTaken] = [this.#line.taken(lane.id), lane.finish === "done" && this.#line.allTaken(lane.id)];
    if (taken === lane.taken && allTaken === lane.allTaken) return;
    for (let ordinal = lane.taken + 1; lane.leavesOut && ordinal <= taken; ordinal++) this.#tellLeftOut(lane, ordinal);
    lane.taken = taken;
    lane.allTaken = allTaken;
    this.#tell(lane.isStream && !allTaken).u8(News.TAKEN).u32(lane.number).f64(taken).u8(Number(allTaken));
  }

  /** True if it never leaves. */
  #tellLeftOut(lane, ordinal) {
    if (this.#line.delivery(lane.id, ordinal) !== NOT_SENT) return false;
    this.#tell().u8(News.LEFT_OUT).u32(lane.number).f64(ordinal);
    return true;
  }

  /** False if nothing is there. */
  #hand(lane) {
    if (lane.over) return false;
    let got;
    try {
      got = this.#line.recvAll(lane.id);
    } catch {
      return false; // it has ended, which its news tells
    }
    const missed = this.#line.missed(lane.id);
    if (missed > lane.missed) this.#tell().u8(News.MISSED).u32(lane.number).f64((lane.missed = missed));
    if (got === undefined) return false;
    if (got === null) {
      lane.over = true;
      this.#tell().u8(News.END).u32(lane.number);
      return false;
    }
    if (Array.isArray(got)) {
      const [bytes, ends] = got;
      ends.forEach((end, index) => this.#handed(lane, end - (ends[index - 1] ?? 0)));
      this.#tell().u8(News.MESSAGES).u32(lane.number).bytes(bytes, true).ends(ends);
    } else {
      this.#handed(lane, got.length);
      this.#tell().u8(News.MESSAGE).u32(lane.number).bytes(got, true);
    }
    return true;
  }

  #handed(lane, length) {
    lane.untaken.push(length + MESSAGE_COST);
    lane.untakenLen += length + MESSAGE_COST;
  }

  #handDatagram(lane) {
    const datagram = this.#line.recvDatagram(lane.id);
    if (!datagram) return false;
    const cost = datagram.length + MESSAGE_COST;
    lane.unseen.push(cost);
    lane.unseenLen += cost;
    lane.stats ??= [];
    this.#tell().u8(News.DATAGRAM).u32(lane.number).bytes(datagram, true);
    return true;
  }

  #tellStats(lane) {
    if (!lane.stats) return;
    const stats = [lane.datagrams, ...this.#line.datagramStats(lane.id)];
    const [, sent, expired, replaced, overflowed] = stats;
    clearTimeout(lane.timer);
    if (sent + expired + replaced + overflowed < lane.datagrams) lane.timer = setTimeout(() => this.#look(lane), STATS_MILLIS);
    if (stats.every((count, index) => count === lane.stats[index])) return;
    lane.stats = stats;
    this.#tell().u8(News.STATS).u32(lane.number).u32(lane.datagrams);
    for (const count of stats.slice(1)) this.#news.f64(count);
  }

  /** Nothing comes or goes on it any more: everything that is known of it, and what had arrived. */
  #end(lane, cause) {
    if (lane.ended) return;
    this.#tellTaken(lane);
    while (this.#hand(lane));
    while (this.#handDatagram(lane));
    this.#tellStats(lane);
    lane.ended = true;
    this.#tellEnd(lane.number, cause, this.#lastThatMayHaveLeft(lane));
  }

  #endAll() {
    for (const lane of this.#lanes.values()) this.#end(lane, { code: "closed", message: "The line has ended." });
  }

  #tellEnd(number, { code, message }, left) {
    this.#tell().u8(News.ENDED).u32(number).text(code).text(message).f64(left);
  }

  /** The core says of each message whether it left; those that did not are the last. */
  #lastThatMayHaveLeft(lane) {
    let [low, high] = [lane.taken, lane.accepted];
    if (lane.leavesOut) {
      // Those that were left out stand between the others.
      for (let ordinal = low + 1; ordinal <= high; ordinal++) if (!this.#tellLeftOut(lane, ordinal)) low = ordinal;
      return low;
    }
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#line.delivery(lane.id, middle) === NOT_SENT) high = middle - 1;
      else low = middle;
    }
    return low;
  }
}

/** Makes this worker one that holds lines. */
export function serve() {
  const take = ({ ports }) => ports.forEach((port) => new Served(port));
  globalThis.onmessage = take;
  globalThis.onconnect = ({ ports: [page] }) => (page.onmessage = take);
  globalThis.addEventListener("error", ({ message }) => [...served].forEach((one) => one.fail(new Error(message))));
}
