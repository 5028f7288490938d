/**
 * A channel of messages: promises for what is sent, an iterator for what arrives.
 *
 *   send ─► backlog (while the core's queue is full) ─► core ─► sends (until delivery is known) ─► settled
 *
 *   core ─► ahead (what the core had, at once) ─► reader; each is told to be taken when the reader has it
 *
 * Nothing is asked of the core before somebody reads, so that the other end sees what was read. `link.js` tells a
 * channel of its news (`_changed`) and of its session's end (`_ended`); after its end a channel never uses its id
 * again: in the next session the number may be another's.
 */

import { Datagrams } from "./datagrams.js";
import { DuologueError, cancelledHere, wrap } from "./errors.js";
import { Queue, RESET_CANCELLED, fromJson, split, toBytes } from "./values.js";

/** What the core says of a message. */
const PENDING = 0;
const NOT_SENT = 2;

const finished = () => new DuologueError("finished", "This channel was finished: nothing more can be sent on it.");
const notTaken = () => new DuologueError("not-taken", "The channel ended before this message was taken.");

export class Channel {
  #link;
  #id;
  #sends = []; // { ordinal, resolve, reject }, the oldest first
  #backlog = []; // { bytes, resolve, reject }: the core's queue is full
  #received = new Queue(); // those who wait for messages; after the end, what was not read
  #ahead = []; // messages that the core has handed over,
  #at = 0; // and the first that nobody has read
  #datagrams;
  #sending = true;
  #receiving = true;
  #over = false;
  #error; // why it is over, if before its time

  /** @private */
  constructor(link, label, id) {
    this.#link = link;
    this.label = label;
    link._run(
      (line) => {
        this.#id = id ?? line.open(label);
        link._channels.set(this.#id, this);
      },
      (error) => this._ended(undefined, error),
    );
  }

  send(data) {
    return new Promise((resolve, reject) => {
      const bytes = toBytes(data);
      this.#run(
        (line) => {
          if (!this.#sending) throw finished();
          this.#offer(line, { bytes, resolve, reject });
        },
        (error) => reject(error._with("not sent")),
      );
    });
  }

  async sendJson(value) {
    return this.send(JSON.stringify(value));
  }

  finish() {
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

  /** @private The next message. */
  _next() {
    if (this.#at < this.#ahead.length) {
      const value = this.#shift();
      this.#run((line) => line.take(this.#id, 1));
      return Promise.resolve({ value, done: false });
    }
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
    while (this.#backlog.length > 0 && this.#offer(line, this.#backlog.shift(), true));
    if (!this.#sending && this.#backlog.length === 0) line.finish(this.#id);
    this.#settle(line, notTaken());
    this.#datagrams?._changed(line, this.#id);
    this.#receive(line);
  }

  /** @private Nothing comes or goes any more: whatever is pending settles, and what had arrived can still be read. */
  _ended(line, error, why = error) {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    if (line && this.#id !== undefined) this.#settle(line, why);
    this.#drain(line);
    this.#datagrams?._ended(line, this.#id, error);
    for (const { reject } of this.#sends.splice(0)) reject(why._with("unknown"));
    for (const { reject } of this.#backlog.splice(0)) reject(why._with("not sent"));
    this.#received.end(error);
  }

  #run(work, fail = () => {}) {
    this.#link._run((line) => (this.#over ? fail(this.#error ?? finished()) : work(line)), fail);
  }

  /** Ends this channel; its session lives on. */
  #break(line, error) {
    this._ended(line, error, notTaken());
    this.#release(line);
  }

  /** Settles the sends of which something is known; `why` for those that were not taken. */
  #settle(line, why) {
    if (this.#sends.length === 0) return;
    const taken = line.taken(this.#id);
    let settled = 0;
    for (const { ordinal, resolve, reject } of this.#sends) {
      if (ordinal <= taken) {
        resolve();
      } else {
        const delivery = line.delivery(this.#id, ordinal);
        if (delivery === PENDING) break;
        reject(why._with(delivery === NOT_SENT ? "not sent" : "unknown"));
      }
      settled += 1;
    }
    if (settled > 0) this.#sends.splice(0, settled);
  }

  #receive(line) {
    // Without a reader nothing is asked for, except to learn that the channel has ended.
    while (this.#receiving && this.#received.hungry) {
      if (this.#at < this.#ahead.length) {
        this.#received.push(this.#shift());
        line.take(this.#id, 1);
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
    const message = this.#ahead[this.#at];
    this.#ahead[this.#at++] = undefined;
    return message;
  }

  /** What the core has. False if that is nothing. */
  #fetch(line) {
    const got = line.recvAll(this.#id);
    if (got === undefined) return false;
    this.#ahead = got === null ? [] : split(got);
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

  /** Gives the core a message. False if it had no room; `again` then puts it back to the front. */
  #offer(line, message, again = false) {
    if (this.#backlog.length > 0 && !again) {
      this.#backlog.push(message);
      return false;
    }
    try {
      this.#sends.push({ ordinal: line.send(this.#id, message.bytes), resolve: message.resolve, reject: message.reject });
      return true;
    } catch (error) {
      if (error?.code === "blocked") {
        if (again) this.#backlog.unshift(message);
        else this.#backlog.push(message);
        return false;
      }
      message.reject(wrap(error)._with("not sent"));
      return true;
    }
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
