/**
 * A channel of messages: promises for what is sent, an iterator for what arrives.
 *
 *   send ─► outbox (this tick's) ─► backlog (while the core's queue is full) ─► core ─► sends (until delivery is known)
 *
 *   core ─► ahead (what the core had, at once) ─► reader ─► told to be taken, once for what a task reads
 *
 * Nothing is asked of the core before somebody reads, so that the other end sees what was read. `link.js` tells a
 * channel of its news (`_changed`), and of its end with its session (`_renewed`, `_ended`). One whose messages each stand
 * alone goes on in the next session with those that had not left; any other is over, and never uses its id again: it may be
 * another's.
 */

import { Datagrams } from "./datagrams.js";
import { DuologueError, cancelledHere, wrap } from "./errors.js";
import { Queue, RESET_CANCELLED, fromJson, toJson, toKind, toMessage } from "./values.js";

/** What the core says of a message. */
const PENDING = 0;
const TAKEN = 1;
const NOT_SENT = 2;

/** Messages of up to this length go to the core together: the way there costs more than they do. Longer ones go alone. */
const SMALL_LEN_MAX = 4_096;
/** Where they are put together. */
const together = new Uint8Array(64 * 1_024);
const ends = new Uint32Array(4_096);

/** Rounds of microtasks without a read after which it is told what was read: so many that an answer takes it along. */
const ROUNDS = 16;

const isSmall = (message) => message?.whole <= SMALL_LEN_MAX && message.bytes.length === message.whole;

/** Gives the core messages from `at` on: as many small ones as fit, or one. How many it took; none if it has no room. */
function give(line, id, messages, at) {
  if (isSmall(messages[at]) && isSmall(messages[at + 1])) {
    let [count, length] = [0, 0];
    for (; count < ends.length && isSmall(messages[at + count]); count++) {
      const { bytes } = messages[at + count];
      if (length + bytes.length > together.length) break;
      together.set(bytes, length);
      ends[count] = length += bytes.length;
    }
    return line.sendAll(id, together.subarray(0, length), ends.subarray(0, count));
  }
  const { bytes, whole } = messages[at];
  if (bytes.length !== whole) throw new DuologueError("detached", "The buffer was given away before its bytes had left.");
  return Number(line.send(id, bytes));
}

const nothing = () => {};
const now = Promise.resolve(); // whose `then` does not leave the engine, as `queueMicrotask` does
const finished = () => new DuologueError("finished", "This channel was finished: nothing more can be sent on it.");
const notTaken = () => new DuologueError("not-taken", "The message was left out, or the channel ended before it was taken.");

export class Channel {
  #link;
  #id;
  #outbox = []; // { bytes, whole (their length), resolve, reject }: they go to the core together, at the end of the tick
  #backlog = []; // the same, for which it had no room
  #sends = []; // the same, which it has
  #sent = 0; // as many as it ever had: the ordinal of the last
  #received = new Queue(); // those who wait for messages; after the end, what was not read
  #ahead = []; // messages that the core has handed over,
  #at = 0; // and the first that nobody has read
  #read = 0; // so many were read, and the core has not been told
  #round = 0; // of those, since the last was read; 0 if nobody counts
  #missed = 0; // before these
  #kind; // priority and tail
  #leavesOut; // some of what is sent may be left out
  #datagrams;
  #sending = true;
  #receiving = true;
  #over = false;
  #error; // why it is over, if before its time
  #isIndependent; // each of its messages stands alone
  resent = 0;
  missed = 0;

  /** @private */
  constructor(link, label, id, options, sent = 0, isFinished = false) {
    const { resend } = options ?? {};
    this.#kind = toKind(options);
    this.#leavesOut = this.#kind[1] !== undefined;
    if (resend !== undefined && resend !== "independent") {
      throw new TypeError('`resend` is "independent", or not given.');
    }
    this.#link = link;
    this.label = String(label);
    this.#isIndependent = resend === "independent";
    this.#sent = sent;
    this.#sending = !isFinished;
    link._run(
      (line) => {
        this.#id = id ?? this.#open(line);
        link._channels.set(this.#id, this);
      },
      (error) => this._ended(undefined, error),
    );
  }

  send(data) {
    return this.#mayMiss(new Promise((resolve, reject) => this.#add(toMessage(data), resolve, reject)));
  }

  sendMany(messages) {
    return this.#mayMiss(this.#sendAll(messages));
  }

  async #sendAll(messages) {
    // Before any of them is given away, each can be sent.
    const all = Array.from(messages, toMessage);
    const last = all.pop();
    if (!last) return;
    await new Promise((resolve, reject) => {
      for (const bytes of all) this.#add(bytes, nothing, reject);
      this.#add(last, resolve, reject); // after which all others were taken, or one of them has said why not
    });
  }

  /** Of a tail nobody need hear what was left out. */
  #mayMiss(sent) {
    if (this.#kind[1] !== undefined) sent.catch(nothing);
    return sent;
  }

  discard() {
    this._post();
    this.#run((line) => {
      this.#leavesOut = true;
      for (const { reject } of this.#backlog.splice(0)) reject(notTaken()._with("not sent"));
      line.discard(this.#id);
      this.#settle(line);
    });
  }

  async sendJson(value) {
    return this.send(toJson(value));
  }

  finish() {
    this._post();
    this.#run((line) => {
      this.#sending = false;
      // What the core had no room for still goes first.
      if (this.#backlog.length === 0) line.finish(this.#id);
      this.#releaseWhenDone(line);
    });
  }

  cancel() {
    this._reset(RESET_CANCELLED, cancelledHere());
  }

  /** @private */
  _reset(code, error) {
    this.#run((line) => {
      line.reset(this.#id, code);
      this.#break(line, error);
    });
  }

  get datagrams() {
    if (!this.#datagrams) {
      this.#datagrams = new Datagrams((work, fail) => this.#run((line) => work(line, this.#id), fail));
      if (this.#over) this.#datagrams._ended(undefined, undefined, this.#error);
    }
    return this.#datagrams;
  }

  /** By hand: an async generator takes three microtasks for each message. */
  [Symbol.asyncIterator]() {
    const iterator = {
      next: () => this._next(),
      return: async (value) => ({ value, done: true }),
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  async *json() {
    for await (const message of this) yield fromJson(message);
  }

  async recvMany() {
    const { value, done } = await this._next();
    if (done) return [];
    const messages = [value];
    while (this.#at < this.#ahead.length) messages.push(this.#shift());
    return messages;
  }

  /** @private The next message. */
  _next() {
    if (this.#at < this.#ahead.length) return Promise.resolve({ value: this.#shift(), done: false });
    this._post();
    const next = this.#received.next();
    this.#run((line) => this.#receive(line));
    return next;
  }

  /** @private Something about this channel is new. */
  _changed(line) {
    const why = line.broken(this.#id);
    if (why) {
      this.#break(line, new DuologueError(why.code, why.message));
      return;
    }
    this.#offer(line);
    if (!this.#sending && this.#backlog.length === 0) line.finish(this.#id);
    this.#settle(line);
    this.#datagrams?._changed(line, this.#id);
    this.#receive(line);
  }

  /** @private The page is left: what nobody has read goes back to the core. False if not all that was sent is there. */
  _handBack(line) {
    this.#tell(line);
    while (this.#ahead.length > this.#at) line.handBack(this.#id, this.#ahead.pop());
    this.#ahead = [];
    this.#at = 0;
    return this.#backlog.length === 0;
  }

  /** @private Its session has ended, and another has begun. */
  _renewed(line, error) {
    this.#tell(line);
    // What was typed under one name is never said under another.
    if (!this.#isIndependent || this.#over || error.code === "session-subject") return this._ended(line, error);
    const kept = this.#settle(line, error, true);
    this.#drain(line);
    this.#datagrams?._changed(line, this.#id);
    this.resent += kept.length;
    this.#backlog = kept.concat(this.#backlog);
    if (!this.#sending && this.#backlog.length === 0) return this._ended(line, error);
    this.#sent = 0;
    this.#id = this.#open(line);
    this.#link._channels.set(this.#id, this);
    this._changed(line);
  }

  /** @private Nothing comes or goes any more: whatever is pending settles, and what had arrived can still be read. */
  _ended(line, error, why = error) {
    if (this.#over) return;
    if (line) this.#tell(line);
    this.#over = true;
    this.#error = error;
    if (line && this.#id !== undefined) this.#settle(line, why);
    this.#drain(line);
    this.#datagrams?._ended(line, this.#id, error);
    for (const { reject } of this.#sends.splice(0)) reject(why._with("unknown"));
    for (const { reject } of this.#backlog.splice(0)) reject(why._with("not sent"));
    this._post();
    this.#received.end(error);
  }

  #open(line) {
    return line.open(this.label, false, ...this.#kind);
  }

  #run(work, fail = nothing) {
    this.#link._run((line) => (this.#over ? fail(this.#error ?? finished()) : work(line)), fail);
  }

  /** Ends this channel; its session lives on. */
  #break(line, error) {
    this._ended(line, error, notTaken());
    this.#release(line);
  }

  /** Settles the sends of which something is known; `why` for those that were not taken, made when there is one. With `keeps`,
   * gives back those that did not leave instead. */
  #settle(line, why, keeps = false) {
    const kept = [];
    if (this.#sends.length === 0) return kept;
    const taken = line.taken(this.#id);
    const first = this.#sent - this.#sends.length + 1;
    let settled = 0;
    for (const send of this.#sends) {
      const ordinal = first + settled;
      if (ordinal <= taken && !this.#leavesOut) {
        send.resolve();
      } else {
        const delivery = line.delivery(this.#id, ordinal);
        if (delivery === PENDING) break;
        if (delivery === TAKEN) send.resolve();
        else if (keeps && delivery === NOT_SENT) kept.push(send);
        else send.reject((why ?? notTaken())._with(delivery === NOT_SENT ? "not sent" : "unknown"));
      }
      settled += 1;
    }
    if (settled > 0) this.#sends.splice(0, settled);
    return kept;
  }

  #receive(line) {
    // Without a reader nothing is asked for, except to learn that the channel has ended.
    while (this.#receiving && this.#received.hungry) {
      if (this.#at < this.#ahead.length) {
        this.#received.push(this.#shift());
        continue;
      }
      try {
        if (!this.#fetch(line)) return;
      } catch (error) {
        this.#break(line, wrap(error));
        return;
      }
    }
    this.#releaseWhenDone(line);
  }

  /** The first that nobody has read. What was read is not held on to: it may have 16 MiB. */
  #shift() {
    this.missed = this.#missed;
    const message = this.#ahead[this.#at];
    this.#ahead[this.#at++] = undefined;
    this.#read++;
    if (this.#round === 0) this.#wait();
    this.#round = 1;
    return message;
  }

  /** Whoever reads goes on in microtasks, and so does whoever answers: a call to the core for each would cost more than both. */
  #wait = () => {
    if (this.#round++ < ROUNDS) return void now.then(this.#wait);
    this.#round = 0;
    this._post();
    this.#run((line) => this.#tell(line));
  };

  /** Tells the core what was read. */
  #tell(line) {
    if (this.#read > 0) line.take(this.#id, this.#read);
    this.#read = 0;
  }

  /** What the core has. False if that is nothing. */
  #fetch(line) {
    const got = line.recvAll(this.#id);
    this.#missed = line.missed(this.#id);
    if (!got) this.missed = this.#missed;
    if (got === undefined) return false;
    this.#ahead = [got ?? []].flat();
    this.#at = 0;
    if (got !== null) return true;
    this.#receiving = false;
    this.#received.end();
    return true;
  }

  /** What has arrived and was not read yet. */
  #drain(line) {
    try {
      do {
        for (const message of this.#ahead.slice(this.#at)) this.#received.push(message);
        this.#ahead = [];
      } while (line && this.#receiving && this.#fetch(line));
    } catch {
      // It says that the channel has ended; whoever drains it knows why.
    }
  }

  #add(bytes, resolve, reject) {
    // Answers to what arrived together leave together: `#wait` or the next read has them.
    const alone = this.#outbox.push({ bytes, whole: bytes.length, resolve, reject }) === 1;
    if (alone && (this.#round === 0 || this.#at === this.#ahead.length)) queueMicrotask(() => this._post());
  }

  /** @private What was sent in this tick, or while there was more to read, in order with all else that is done with the channel. */
  _post() {
    const messages = this.#outbox;
    if (messages.length === 0) return;
    this.#outbox = [];
    const reject = (error) => messages.forEach((message) => message.reject(error._with("not sent")));
    this.#run((line) => {
      if (!this.#sending) return reject(finished());
      const waits = this.#backlog.length > 0;
      this.#backlog = waits ? this.#backlog.concat(messages) : messages;
      if (!waits) this.#offer(line);
      this.#tell(line); // and leaves with them
    }, reject);
  }

  /** Gives the core what waits for it, as far as there is room. */
  #offer(line) {
    const messages = this.#backlog;
    let at = 0;
    while (at < messages.length) {
      try {
        const count = give(line, this.#id, messages, at);
        if (count === 0) break;
        this.#sent += count;
        for (const end = at + count; at < end; at++) {
          if (!this.#isIndependent) messages[at].bytes = undefined; // else they may be wanted once more
          this.#sends.push(messages[at]);
        }
      } catch (error) {
        messages[at++].reject(wrap(error)._with("not sent"));
      }
    }
    if (at > 0) messages.splice(0, at);
  }

  #releaseWhenDone(line) {
    if (this.#sending || this.#receiving || this.#sends.length > 0 || this.#backlog.length > 0) return;
    this._ended(line, undefined);
    this.#release(line);
  }

  #release(line) {
    if (this.#link._channels.delete(this.#id)) line.release(this.#id);
  }
}
