/**
 * The package's face: promises, iterators and states over the wasm core. duologue.d.ts is its contract.
 *
 *   connect() ─► identity.js (device key, pin, ticket) ─► core Line ─► onOpened, onChannel, onChanged, onClosed ─► Link, Channel
 *
 * It never sees a frame, a record or the private half of the device key.
 */

import init, * as core from "./duologue_core.js";
import { createIdentity, forget, load, store } from "./identity.js";

export class DuologueError extends Error {
  constructor(code, message, delivery) {
    super(message);
    this.name = "DuologueError";
    this.code = code;
    if (delivery) this.delivery = delivery;
  }
}

const RESET_CANCELLED = 1;
const RESET_DEADLINE = 2;
const PENDING = 0;
const TAKEN = 1;
const NOT_SENT = 2;
/** Numbers on the wire. */
const ALGORITHM = { Ed25519: 1, "P-256": 2 };

let loading;
/** The module is fetched once, when it is first needed. */
const ready = () => (loading ??= init());

/** Errors of the core carry a code; anything else is a fault of this package or of the browser. */
function wrap(error) {
  if (error instanceof DuologueError) return error;
  // A DOMException has a code too, but a number.
  const code = typeof error?.code === "string" ? error.code : "internal";
  return new DuologueError(code, error?.message ?? String(error));
}

function toBytes(data) {
  if (typeof data === "string") return new TextEncoder().encode(data);
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new TypeError("Duologue sends a Uint8Array, an ArrayBuffer or a string; for anything else use sendJson.");
}

const fromJson = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** A promise with its two ends outside. */
function deferred() {
  let settle;
  const promise = new Promise((resolve, reject) => (settle = { resolve, reject }));
  return { promise, ...settle };
}

/** Values for iterators: those that wait, and those who wait for one. */
class Queue {
  #values = [];
  #waiting = [];
  #end; // { error } or {}

  push(value) {
    const waiter = this.#waiting.shift();
    if (waiter) waiter.resolve({ value, done: false });
    else this.#values.push(value);
  }

  end(error) {
    if (this.#end) return;
    this.#end = { error };
    for (const waiter of this.#waiting.splice(0)) {
      if (error) waiter.reject(error);
      else waiter.resolve({ value: undefined, done: true });
    }
  }

  next() {
    if (this.#values.length > 0) return Promise.resolve({ value: this.#values.shift(), done: false });
    if (this.#end?.error) return Promise.reject(this.#end.error);
    if (this.#end) return Promise.resolve({ value: undefined, done: true });
    const waiter = deferred();
    this.#waiting.push(waiter);
    return waiter.promise;
  }

  get hungry() {
    return this.#waiting.length > 0;
  }
}

export class Channel {
  #link;
  #id;
  #sends = []; // { ordinal, resolve, reject }, the oldest first
  #backlog = []; // { bytes, resolve, reject }: the core's queue is full
  #received = new Queue();
  #sending = true;
  #receiving = true;

  /** @private */
  constructor(link, label, id) {
    this.#link = link;
    this.label = label;
    link._run(
      (line) => {
        this.#id = id ?? line.open(label);
        link._channels.set(this.#id, this);
      },
      (error) => this.#fail(error),
    );
  }

  send(data) {
    return new Promise((resolve, reject) => {
      const bytes = toBytes(data);
      this.#link._run(
        (line) => {
          if (!this.#sending) throw new DuologueError("finished", "This channel was finished: nothing more can be sent on it.");
          this.#offer(line, { bytes, resolve, reject });
        },
        (error) => reject(new DuologueError(error.code, error.message, "not sent")),
      );
    });
  }

  async sendJson(value) {
    return this.send(JSON.stringify(value));
  }

  finish() {
    this.#link._run((line) => {
      this.#sending = false;
      // What the core had no room for still goes first.
      if (this.#backlog.length === 0) line.finish(this.#id);
      this.#releaseWhenDone(line);
    });
  }

  cancel() {
    this._reset(RESET_CANCELLED);
  }

  /** @private */
  _reset(code) {
    this.#link._run((line) => line.reset(this.#id, code));
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      const { value, done } = await this._next();
      if (done) return;
      yield value;
    }
  }

  async *json() {
    for await (const message of this) yield fromJson(message);
  }

  /** @private The next message. It is taken from the core only now, so that the server sees what was read. */
  _next() {
    const next = this.#received.next();
    this.#link._run((line) => this.#receive(line));
    return next;
  }

  /** @private Something about this channel is new. */
  _changed(line) {
    while (this.#backlog.length > 0 && this.#offer(line, this.#backlog.shift(), true));
    if (!this.#sending && this.#backlog.length === 0) line.finish(this.#id);
    this.#settle(line, new DuologueError("not-taken", "The channel ended before this message was taken."));
    this.#receive(line);
    this.#releaseWhenDone(line);
  }

  /** Settles the sends of which something is known; `why` for those that were not taken. */
  #settle(line, why) {
    while (this.#sends.length > 0) {
      const { ordinal, resolve, reject } = this.#sends[0];
      const delivery = line.delivery(this.#id, ordinal);
      if (delivery === PENDING) return;
      this.#sends.shift();
      if (delivery === TAKEN) resolve();
      else reject(new DuologueError(why.code, why.message, delivery === NOT_SENT ? "not sent" : "unknown"));
    }
  }

  #receive(line) {
    // Without a reader nothing is taken, except to learn that the channel has ended.
    while (this.#receiving && this.#received.hungry) {
      try {
        const message = line.recv(this.#id);
        if (message === undefined) return;
        if (message === null) {
          this.#receiving = false;
          this.#received.end();
        } else {
          this.#received.push(message);
        }
      } catch (error) {
        this.#fail(wrap(error));
      }
    }
    this.#releaseWhenDone(line);
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
      const { code, message: text } = wrap(error);
      message.reject(new DuologueError(code, text, "not sent"));
      return true;
    }
  }

  #fail(error) {
    this.#receiving = false;
    this.#received.end(error);
  }

  /** @private The link has ended: whatever is pending settles, and what had arrived can still be read. */
  _ended(line, error) {
    this.#settle(line, error);
    for (const { reject } of this.#backlog.splice(0)) reject(new DuologueError(error.code, error.message, "not sent"));
    try {
      let message;
      while (this.#receiving && (message = line.recv(this.#id))) this.#received.push(message);
      if (message === null) this.#received.end();
    } catch {
      // It says that the channel is closed; the link's end says why.
    }
    this.#fail(error);
  }

  #releaseWhenDone(line) {
    if (this.#sending || this.#receiving || this.#sends.length > 0 || this.#backlog.length > 0) return;
    if (this.#link._channels.delete(this.#id)) line.release(this.#id);
  }
}

export class Link extends EventTarget {
  state = "connecting";
  server;
  device;
  incoming;
  /** @private */
  _channels = new Map();
  #line;
  #waiting = []; // [work, fail] until the line exists
  #end; // the DuologueError after which nothing works
  #ready = deferred();
  #closed = deferred();
  #incoming = new Queue();
  #closing = false;

  /** @private */
  constructor(options) {
    super();
    this.ready = this.#ready.promise;
    this.closed = this.#closed.promise;
    this.ready.catch(() => {}); // whoever waits hears it; nobody need wait
    const incoming = this.#incoming;
    this.incoming = { [Symbol.asyncIterator]: () => ({ next: () => incoming.next(), return: async () => ({ done: true }) }) };
    options.signal?.addEventListener("abort", () => this.close("aborted"), { once: true });
    this.#start(options).catch((error) => {
      const { code, message } = wrap(error);
      this.#finish(code, message, false);
    });
    if (options.signal?.aborted) this.close("aborted");
  }

  channel(label) {
    return new Channel(this, label);
  }

  async request(label, data, { signal, timeout } = {}) {
    signal?.throwIfAborted();
    const channel = this.channel(label);
    const sent = channel.send(data);
    sent.catch(() => {}); // an answer, or its absence, says more
    channel.finish();
    const stop = deferred();
    const abort = () => {
      channel._reset(RESET_CANCELLED);
      stop.reject(signal.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    const timer =
      timeout === undefined
        ? undefined
        : setTimeout(() => {
            channel._reset(RESET_DEADLINE);
            stop.reject(new DuologueError("deadline", "The answer did not come in time."));
          }, timeout);
    try {
      const { value, done } = await Promise.race([channel._next(), stop.promise]);
      if (done) throw new DuologueError("no-answer", "The service has finished without an answer.");
      return value;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      // Reads the end, so that the channel can go.
      channel._next().catch(() => {});
    }
  }

  async requestJson(label, value, options) {
    return fromJson(await this.request(label, JSON.stringify(value), options));
  }

  close(reason = "") {
    if (this.#end || this.#closing) return;
    this.#closing = true;
    if (this.#line) this.#line.close(reason);
    else this.#finish("normal", "The line was closed.", false);
  }

  /** @private Runs work on the line, now or, in order, when there is one; after the end, `fail`. */
  _run(work, fail = () => {}) {
    if (this.#end) return fail(this.#end);
    if (!this.#line) return this.#waiting.push([work, fail]);
    try {
      work(this.#line);
    } catch (error) {
      fail(wrap(error));
    }
  }

  async #start(options) {
    if (!globalThis.crypto?.subtle || !globalThis.indexedDB) {
      throw new DuologueError("insecure-context", "Browsers keep keys for secure pages only: open this page over https.");
    }
    await ready();
    const url = new URL(options.url ?? "/line", globalThis.location?.href);
    url.protocol = url.protocol === "http:" || url.protocol === "ws:" ? "ws:" : "wss:";
    const host = url.host;
    const link = inviteOf(options.invite);
    const named = link === undefined ? undefined : core.parseInvite(link);
    const known = await load(host);
    const pinned = options.serverKey ?? known?.serverKey;
    if (pinned !== undefined) this.server = keyInfo(pinned);
    if (known?.device) this.device = await deviceInfo(known.device);
    const replaced = named !== undefined && pinned !== undefined && named.key !== pinned;
    if (replaced && !options.replacePin) {
      throw new DuologueError("pin-changed", "The link names another server key than the one that is pinned here.");
    }
    const serverKey = replaced ? named.key : (pinned ?? named?.key);
    if (serverKey === undefined || (!known?.device && link === undefined)) {
      throw pinned === undefined
        ? new DuologueError("no-identity", "This browser has no key for this server: ask its owner for an invite link.")
        : new DuologueError("identity-lost", "This browser has lost its device key: ask the server's owner for a new invite link.");
    }
    const identity = await createIdentity(host);
    // The pin is kept only once the line has opened: a link that leads nowhere leaves no trace.
    const enrolled = Boolean(known?.enrolled) && !replaced;
    if (this.#end || this.#closing) return;
    this.server = keyInfo(serverKey);
    this.device = await deviceInfo(identity);

    const line = new core.Line({
      url: url.href,
      serverKey,
      invite: link,
      ticket: replaced ? undefined : known?.ticket,
      enrolled,
      algorithm: ALGORITHM[identity.algorithm],
      spki: identity.spki,
      origin: globalThis.location?.origin ?? "",
      host,
      name: options.deviceName ?? browserName(),
      observed: options.observe !== undefined,
      // A view of the module's memory is good only until this returns: whoever watches gets a copy.
      onRecord: (outward, bytes) => options.observe(outward ? "out" : "in", bytes.slice()),
      onSign: (message) =>
        identity.sign(message).then(
          (signature) => this.#line === line && line.provideSignature(signature),
          (error) => this.#finish("no-signature", `The device key does not sign: ${error.message}`, false),
        ),
      onOpened: (ticket) => {
        const kept = store(host, { serverKey, enrolled: true, ticket }).catch(() => {}); // the line is good all the same
        const open = () => {
          if (this.#end) return;
          this.#become("open");
          this.#ready.resolve();
        };
        // The first time, whoever sees the line open may reload at once, and must find the pin.
        if (enrolled) open();
        else kept.then(open);
      },
      onChannel: (id, label) => this.#incoming.push(new Channel(this, label, id)),
      onChanged: (id) => this._channels.get(id)?._changed(line),
      onClosed: (code, reason, byPeer) => this.#finish(code, reason, byPeer),
    });
    this.#line = line;
    watchForWaking(() => this.#line?.probe(), this.closed);
    for (const [work, fail] of this.#waiting.splice(0)) this._run(work, fail);
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }

  #finish(code, reason, byPeer) {
    if (this.#end) return;
    const error = new DuologueError(code, reason);
    const line = this.#line;
    for (const channel of this._channels.values()) channel._ended(line, error);
    this.#end = error;
    for (const [, fail] of this.#waiting.splice(0)) fail(error);
    this._channels.clear();
    this.#incoming.end();
    this.#line = undefined;
    this.#ready.reject(error);
    this.#become("closed");
    this.#closed.resolve(Object.freeze({ code, reason, byPeer }));
    // The core goes when it has sent its last record.
    line?.free();
  }
}

export function connect(options = {}) {
  return new Link(options);
}

export async function hasIdentity(url) {
  return Boolean((await load(hostOf(url)))?.device);
}

export async function forgetIdentity(url) {
  await forget(hostOf(url));
}

export async function parseInvite(link) {
  const invite = inviteOf(link);
  if (invite === undefined) return undefined;
  await ready();
  try {
    const { key, fingerprint } = core.parseInvite(invite);
    return { key, fingerprint };
  } catch (error) {
    throw wrap(error);
  }
}

const hostOf = (url) => new URL(url ?? globalThis.location.href, globalThis.location?.href).host;

/** The fragment, if it holds an invite, whole or damaged. */
function inviteOf(link) {
  if (link === undefined) return undefined;
  const text = String(link);
  const fragment = text.slice(text.indexOf("#") + 1);
  return fragment.startsWith("i=") ? fragment : undefined;
}

const keyInfo = (key) => Object.freeze({ key, fingerprint: core.serverFingerprint(key) });

async function deviceInfo({ algorithm, spki }) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", spki));
  const key = btoa(String.fromCharCode(...hash)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return Object.freeze({ key, fingerprint: core.deviceFingerprint(spki), algorithm });
}

/** Calls when the device may have slept or its network may have changed, until `ended`: the line may be dead by then. */
function watchForWaking(wake, ended) {
  const stop = new AbortController();
  const { signal } = stop;
  const visible = () => document.visibilityState === "visible" && wake();
  globalThis.document?.addEventListener("visibilitychange", visible, { signal });
  globalThis.addEventListener?.("online", wake, { signal });
  globalThis.addEventListener?.("pageshow", wake, { signal });
  ended.then(() => stop.abort());
}

/** What the server's owner reads in the list of devices. */
function browserName() {
  const agent = globalThis.navigator?.userAgent ?? "";
  const browser = /Firefox\//.test(agent) ? "Firefox" : /Edg\//.test(agent) ? "Edge" : /Chrome\//.test(agent) ? "Chromium" : /Safari\//.test(agent) ? "Safari" : "a browser";
  const system = /Android/.test(agent) ? "Android" : /iPhone|iPad/.test(agent) ? "iOS" : /Mac/.test(agent) ? "macOS" : /Windows/.test(agent) ? "Windows" : /Linux/.test(agent) ? "Linux" : "an unknown system";
  return `${browser} on ${system}`;
}
