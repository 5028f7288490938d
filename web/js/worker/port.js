/**
 * What a page and its worker say to each other, over one MessagePort for each link: `remote.js` is the page's end,
 * `served.js` the other.
 *
 *   page                                             worker
 *   HELLO ───────────────────────────────────────►
 *         ◄─────────────────────────────────── READY   the worker lives, and holds the lock that tells when it does not
 *   ASK, START, OPEN, SEND, WRITE, TOOK, … ──────►     commands: all of one task in one message
 *         ◄── ANSWER, STATE, TAKEN, MESSAGE, ROOM, …   news: the same
 *   FREE ────────────────────────────────────────►     the last
 *
 * A message is { head, bulk, spent }: entries one after the other in `head`, each a number of one byte and its fields in the
 * order of the lists in command.js and news.js; `bulk` has the buffers of what is too long to be copied once more, and `spent`
 * those that the other end may fill again. All are transferred.
 *
 *   u8, u32, f64    big-endian
 *   bytes           their length as u32, and the bytes; from BULK_LEN on they are the next of `bulk` instead
 *   text            bytes that are UTF-8
 *   ends            bytes that are a Uint32Array
 *   lane            u32: a channel or stream; even if the page has opened it, odd if the other end has. Each side counts on
 *                   through all sessions, so that no number is used twice
 *
 * The peer is code of the same page, so that nothing is checked but the version.
 */

/** Of what both ends say, where an app makes the worker itself. */
export const VERSION = 9;

export const NO_KEY = 0xffff_ffff;

/** What a message costs of the bounds below beside its bytes, so that empty ones are bounded too. */
export const MESSAGE_COST = 32;
/** What may be on its way to the worker, for each lane: messages, or one of any length; bytes of a stream. */
export const MESSAGES_AHEAD_LEN = 1_024 * 1_024;
export const STREAM_AHEAD_LEN = 1_024 * 1_024;
/** What may be on its way to the page and not taken, for each lane and its datagrams: so much, and what comes at once. */
export const UNTAKEN_LEN = 64 * 1_024;

/** From here on a buffer of its own is cheaper than a copy. */
const BULK_LEN = 16 * 1_024;
const HEAD_LEN = 1_024;
/** Buffers of this length go to and fro: the collectors of two threads would let hundreds of them lie. Not those of less than
 * half: a worker to which much that is short goes collects sooner. */
const SPARE_LEN = 128 * 1_024;

/** Entries that leave together. */
export class Packer {
  #head = new Uint8Array(HEAD_LEN);
  #view;
  #at;
  #bulk;
  #spent;
  /** Buffers to be filled; whoever hears of `spent` ones adds them. */
  spares = [];

  constructor() {
    this.#begin();
  }

  get isEmpty() {
    return this.#at === 0;
  }

  u8(value) {
    const at = this.#claim(1); // first: it may make another head
    this.#view.setUint8(at, value);
    return this;
  }

  u32(value) {
    const at = this.#claim(4);
    this.#view.setUint32(at, value);
    return this;
  }

  f64(value) {
    const at = this.#claim(8);
    this.#view.setFloat64(at, value);
    return this;
  }

  text(value) {
    return this.bytes(new TextEncoder().encode(value), true);
  }

  ends(value) {
    return this.bytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  }

  /** Bytes that are `owned` and the whole of their buffer may leave with it; others are copied. */
  bytes(bytes, owned = false) {
    this.u32(bytes.length);
    if (bytes.length >= BULK_LEN) {
      this.#bulk.push(owned && bytes.length === bytes.buffer.byteLength ? bytes : this.#copy(bytes));
      return this;
    }
    const at = this.#claim(bytes.length);
    this.#head.set(bytes, at);
    return this;
  }

  /** What was read, and nobody has any more. */
  spend(bytes) {
    if (bytes.length >= BULK_LEN && bytes.buffer.byteLength === SPARE_LEN) this.#spent.push(bytes);
  }

  post(port) {
    const given = [...this.#bulk, ...this.#spent].map(({ buffer }) => buffer);
    // The head is copied: a buffer of its own for each message would be garbage.
    port.postMessage({ head: this.#head.slice(0, this.#at), bulk: this.#bulk, spent: this.#spent }, given);
    this.#begin();
  }

  #copy(bytes) {
    if (bytes.length > SPARE_LEN || bytes.length <= SPARE_LEN / 2) return bytes.slice();
    const { buffer } = this.spares.pop() ?? new Uint8Array(SPARE_LEN);
    const copy = new Uint8Array(buffer, 0, bytes.length);
    copy.set(bytes);
    return copy;
  }

  #begin() {
    if (this.#head.length > HEAD_LEN) this.#head = new Uint8Array(HEAD_LEN);
    this.#view = new DataView(this.#head.buffer);
    this.#at = 0;
    this.#bulk = [];
    this.#spent = [];
  }

  /** Room for so many bytes: where they begin. */
  #claim(length) {
    const at = this.#at;
    this.#at += length;
    if (this.#at > this.#head.length) {
      const before = this.#head;
      this.#head = new Uint8Array(Math.max(this.#at, 2 * before.length));
      this.#head.set(before);
      this.#view = new DataView(this.#head.buffer);
    }
    return at;
  }
}

/** The entries of a message, to be read in the order in which they were written. */
export class Unpacker {
  #head;
  #view;
  #at = 0;
  #bulk;

  constructor({ head, bulk }) {
    this.#head = head;
    this.#view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    this.#bulk = bulk.values();
  }

  get isEmpty() {
    return this.#at === this.#head.length;
  }

  u8() {
    return this.#view.getUint8(this.#pass(1));
  }

  u32() {
    return this.#view.getUint32(this.#pass(4));
  }

  f64() {
    return this.#view.getFloat64(this.#pass(8));
  }

  text() {
    return new TextDecoder().decode(this.view());
  }

  ends() {
    const bytes = this.bytes();
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  }

  /** Bytes to keep: the whole of their buffer. */
  bytes() {
    const bytes = this.view();
    return bytes.length < BULK_LEN ? bytes.slice() : bytes;
  }

  /** Bytes that lie within the message. */
  view() {
    const length = this.u32();
    if (length >= BULK_LEN) return this.#bulk.next().value;
    const at = this.#pass(length);
    return this.#head.subarray(at, at + length);
  }

  #pass(length) {
    const at = this.#at;
    this.#at += length;
    return at;
  }
}
