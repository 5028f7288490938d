/**
 * A channel's datagrams: messages that are worth something only now. They never wait for room and are never sent twice.
 *
 * Queues, deadlines and counts are the core's; here keys of the application become numbers.
 */

import { DuologueError } from "./errors.js";
import { Queue, toBytes, toMillis } from "./values.js";

const DATAGRAM_LEN_MAX = 16_384;
const DEADLINE_MS = 1_000;
const DEADLINE_MAX_MS = 0x7fff_ffff;
/** Keys that are remembered. A datagram under an older one has long left its queue. */
const KEYS_MAX = 1_024;

const NONE = { sent: 0, expired: 0, replaced: 0, overflowed: 0, received: 0, unread: 0 };

export class Datagrams {
  #run; // (work(line, id), fail)
  #received = new Queue();
  #keys = new Map();
  #nextKey = 0;
  #last = NONE;

  /** @private */
  constructor(run) {
    this.#run = run;
  }

  send(data, { deadline = DEADLINE_MS, replace } = {}) {
    let bytes = toBytes(data);
    if (bytes.length > DATAGRAM_LEN_MAX) {
      throw new DuologueError("message-too-long", `The datagram has ${bytes.length} bytes; at most 16,384 can be sent.`);
    }
    const until = performance.now() + Math.min(toMillis(deadline), DEADLINE_MAX_MS);
    const key = replace === undefined ? undefined : this.#keyOf(replace);
    let isGiven = false;
    let failure;
    this.#run(
      // Before the line exists this waits, and the deadline does not.
      (line, id) => {
        isGiven = true;
        line.sendDatagram(id, bytes, Math.max(0, Math.ceil(until - performance.now())), key);
      },
      (error) => (failure = error),
    );
    if (failure) throw failure;
    // Whoever waits for the line has bytes of its own: nothing tells the application when these have left.
    if (!isGiven) bytes = bytes.slice();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      const next = this.#received.next();
      this.#run((line, id) => this._changed(line, id), () => {});
      const { value, done } = await next;
      if (done) return;
      yield value;
    }
  }

  get stats() {
    this.#run((line, id) => this.#count(line, id), () => {});
    return { ...this.#last };
  }

  /** @private */
  _changed(line, id) {
    let datagram;
    while (this.#received.hungry && (datagram = line.recvDatagram(id))) this.#received.push(datagram);
  }

  /** @private */
  _ended(line, id, error) {
    if (line && id !== undefined) {
      this._changed(line, id);
      this.#count(line, id);
    }
    this.#received.end(error);
  }

  #count(line, id) {
    const [sent, expired, replaced, overflowed, received, unread] = line.datagramStats(id);
    this.#last = { sent, expired, replaced, overflowed, received, unread };
  }

  #keyOf(name) {
    const key = this.#keys.get(name) ?? this.#nextKey++;
    // The map keeps the order of insertion: the first key is the one that was used least recently.
    this.#keys.delete(name);
    this.#keys.set(name, key);
    if (this.#keys.size > KEYS_MAX) this.#keys.delete(this.#keys.keys().next().value);
    return key;
  }
}
