/**
 * A core line that a worker holds, and the pages that use it. In a shared worker these are all pages that have the same
 * server and the same device; in any other, one.
 *
 *   page ══ Served ─┐
 *   page ══ Served ─┼─► Held ─► core Line ─► one WebSocket
 *   page ══ Served ─┘
 *
 * What concerns the line is told to each page, what concerns a lane to the page that has it. No page leads: the line goes
 * on while there is one. A page that goes takes along what it has opened, and the last one takes the line; where a worker outlives
 * its pages, the line waits a while for the next (grace.js).
 */

import { core } from "../core.js";
import { watchSocket } from "../surroundings.js";
import { RESET_CANCELLED, labelsOf, standingOf } from "../values.js";

/** Lines that a further page may join, by server and device; each account has a device of its own. */
const joinable = new Map();
const isShared = "SharedWorkerGlobalScope" in globalThis;
/** What is done between two pages, once it is loaded. */
let between;

const nameOf = ({ url, serverKey }, spki) => (isShared ? JSON.stringify([url, serverKey, Array.from(spki)]) : undefined);

export class Held {
  line;
  place; // of the device's key
  #name;
  #options;
  #pages = new Set(); // the one that was looked at last is the last
  #resting = new Set(); // those of them that are left, and that the browser keeps
  #lanes = new Map(); // by the core's id: whom to tell of changes
  #opened; // as the last AUTH_OK told it
  #standing; // as it was told last,
  #toldAt; // and when
  #shown = 0; // the number of the newest evidence
  #altered;
  #state;
  #isOver = false;
  #blocked; // how it has ended, if no socket is permitted here
  #gone; // while no page is here, and the line waits for one

  static all = joinable;

  /** The line of a page, made anew if there is none to join. */
  static of(page, options, spki) {
    const name = nameOf(options, spki);
    const held = joinable.get(name) ?? new Held(name, options, spki);
    held.#join(page);
    return held;
  }

  constructor(name, options, spki) {
    const pages = this.#pages;
    this.#name = name;
    this.#options = options;
    this.place = options.place;
    this.line = new core.Line({
      ...options,
      spki,
      get observed() {
        return Array.from(pages).some((page) => page.given.observed);
      },
      openSocket: (url, protocols) => this.#dial(url, protocols),
      onRecord: (outward, bytes) => this.#tell((page) => page.given.observed && page.onRecord(outward, bytes)),
      // Any of them can sign; whose signature comes first is taken, and one that sleeps is not waited for.
      onSign: (connection, message) => this.#tell((page) => page.onSign(connection, message)),
      onOpened: (ticket, services) => {
        const standing = labelsOf(services)[1];
        this.#opened = [ticket, services.slice(0, -standing.length)]; // not a view of the module's memory
        this.#keep(standing);
        this.#tell((page) => page.onOpened(ticket, services, ...this.#asked(page)));
        // Without it the line ends with its pages.
        if (isShared) import("./grace.js").then((script) => (between = script).begin(joinable)).catch(() => {});
      },
      onStanding: (standing) => {
        this.#keep(standing.slice());
        this.#tell((page) => page.onStanding(standing, ...this.#asked(page)));
      },
      onAltered: (count) => {
        this.#altered = count;
        this.#tell((page) => page.onAltered(count));
      },
      onNote: (...note) => this.#tell((page) => page.onNote(...note)),
      onState: (state) => {
        this.#state = state;
        this.#tell((page) => page.onState(state));
      },
      onFresh: (code, reason) => {
        this.#tell((page) => page.onFresh(code, reason));
        for (const id of this.#lanes.keys()) if (this.line.broken(id)) this.#lanes.delete(id);
      },
      onChannel: (...channel) => {
        if (this.#gone) this.#gone.channels.push(channel);
        else Array.from(pages).at(-1)?.onChannel(...channel);
      },
      onMessages: (bytes, ends) => [bytes.slice(), ends.slice()],
      onChanged: (id) => this.#lanes.get(id)?.(),
      onClosed: (...how) => {
        this.#end();
        this.#tell((page) => page.onClosed(...(this.#blocked ?? how)));
      },
    });
    if (name !== undefined) joinable.set(name, this);
  }

  /** Evidence of a page's person is the line's. */
  show(kind, data) {
    if (!this.#isOver) this.#shown = this.line.show(kind, data);
  }

  #keep(standing) {
    this.#standing = standing;
    this.#toldAt = performance.now();
  }

  /** As it would be told now. */
  #current() {
    const [standing, secs] = [this.#standing.slice(), standingOf(this.#standing).secs];
    const passed = Math.floor((performance.now() - this.#toldAt) / 1_000);
    if (secs) new DataView(standing.buffer).setUint32(6, Math.max(1, secs - passed));
    return standing;
  }

  /** The number of the newest evidence; and whether this page is to be asked for newer: that which was looked at last, of those
   * that have a token. */
  #asked(page) {
    return [this.#shown, Array.from(this.#pages).findLast(({ given }) => given.asks) === page];
  }

  /** A page has signed, and names its key: further pages have that, where another has renewed it. */
  sign(connection, signature) {
    const name = nameOf(this.#options, signature.subarray(65));
    if (joinable.get(this.#name) === this && !joinable.has(name)) {
      joinable.delete(this.#name);
      joinable.set((this.#name = name), this);
    }
    this.line.provideSignature(connection, signature);
  }

  /** A lane of a page, which hears of its changes. */
  own(id, changed) {
    this.#lanes.set(id, changed);
  }

  release(id) {
    this.#lanes.delete(id);
    this.line.release(id);
  }

  /** Takes back what a page has opened; the other end sees a cancellation. */
  cancel(id) {
    if (!this.#isOver) this.line.reset(id, RESET_CANCELLED);
  }

  /** The device may have slept. What the other end opens from now on is for the page that somebody looks at. */
  wake(page, isVisible) {
    this.#resting.delete(page);
    if (isVisible) this.#join(page);
    this.#meet(page);
    this.line.wake();
  }

  /** The browser may show the page again: for as long as it keeps it, the line waits. */
  rest(page) {
    this.#resting.add(page);
    this.#look(page);
  }

  /** Is any page here? */
  #look(page) {
    if (this.#resting.size === this.#pages.size) this.#gone ??= between?.wait(page, this.line);
  }

  /** Ends the line, if it is this page's alone, or for all: false if others go on using it. */
  close(reason, isForAll) {
    if (this.#pages.size > 1 && !isForAll) return false;
    this.#end();
    this.line.close(reason);
    return true;
  }

  /** A page has gone, which had these lanes. The end of the line is theirs too. */
  leave(page, ids) {
    this.#pages.delete(page);
    this.#resting.delete(page);
    const isLast = this.#pages.size === 0;
    if (isLast) this.#gone = this.#isOver ? undefined : between?.wait(page, this.line, () => this.#free());
    if (isLast && !this.#gone) return this.#free();
    for (const id of ids) {
      this.cancel(id);
      this.release(id);
    }
    if (!isLast) this.#look(page);
    if (this.#gone) return this.#keep(between.fallen(this.#standing));
    // The one that was asked may be gone.
    if (page.given.asks && this.#opened) this.#tell((other) => other.onStanding(this.#current(), ...this.#asked(other)));
  }

  #join(page) {
    const isNew = !this.#pages.delete(page);
    this.#pages.add(page);
    if (!isNew) return;
    this.#brief(page);
    this.#meet(page);
  }

  /** A page is here; perhaps there was none. */
  #meet(page) {
    this.#gone?.meet(page);
    this.#gone = undefined;
  }

  /** Tells a page what others know. */
  #brief(page) {
    if (this.#opened) {
      const [ticket, services] = this.#opened;
      page.onOpened(ticket, Uint8Array.of(...services, ...this.#current()), ...this.#asked(page));
    }
    if (this.#altered !== undefined) page.onAltered(this.#altered);
    if (this.#state !== undefined) page.onState(this.#state);
  }

  #dial(url, protocols) {
    const unopened = () => this.#tell((page) => page.onUnopened());
    const blocked = (why) => {
      if (this.#isOver) return;
      this.#blocked = ["blocked-by-policy", why, false];
      this.line.close("");
    };
    return watchSocket(() => new WebSocket(url, protocols), url, { unopened, blocked });
  }

  #tell(news) {
    for (const page of Array.from(this.#pages)) news(page);
  }

  /** No page is here, and none is waited for. */
  #free() {
    this.#gone = undefined;
    this.#end();
    this.line.free();
  }

  #end() {
    this.#isOver = true;
    queueMicrotask(() => this.#gone?.end());
    if (joinable.get(this.#name) === this) joinable.delete(this.#name);
  }
}
