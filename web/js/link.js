/**
 * A link: one line to one server, through any number of connections.
 *
 *   connect() ─► identity.js (device key, pin, ticket) ─► core Line ─► onOpened, onState, onFresh, onChannel, onChanged,
 *                                                                      onClosed ─► Link, Channel, BidirectionalStream
 *   connecting ─► open ◄─► resuming, draining                           the session lives on, or is told to be `fresh`
 *        └──────────┴──────────┴─────────► closed                       for good
 *
 * Redialling, backoff and resumption are the core's. What is pending when a session ends settles here, at once.
 */

import { clearInvite, inviteOf } from "./address.js";
import { Channel } from "./channel.js";
import { ready } from "./core.js";
import { DuologueError, explained, wrap } from "./errors.js";
import * as browser from "./identity/identity.js";
import { TRIES, load as loadScript } from "./ondemand.js";
import { openSocket } from "./platform.js";
import { BidirectionalStream } from "./stream.js";
import { deviceInfo, keyInfo, lineUrl, placeOf, watchPage, watchSocket, workersLast } from "./surroundings.js";
import {
  Queue,
  RESET_CANCELLED,
  RESET_DEADLINE,
  after,
  deferred,
  fromJson,
  labelsOf,
  sha256,
  split,
  standingOf,
  toJson,
  toMessage,
  toMillis,
  within,
} from "./values.js";

/** The longest sealed message. */
const RECORD_LEN_MAX = 65_535;
/** How long it may take to keep what was learnt of a server. */
const KEPT_MILLIS = 3_000;
/** Hosts that may be in the person's own network. */
const NEAR = /^(localhost|\[.*|[\d.]+)$|\.(local|localhost)$/;
/** Ends whose cause is looked into. */
const WHY = new Set(["unreachable", "blocked-by-policy", "wasm-blocked", "no-wasm"]);
/** Numbers on the wire. */
const ALGORITHM = { Ed25519: 1, "P-256": 2 };
/** What works unbound: `const { fetch } = link`. */
const METHODS = ["channel", "createBidirectionalStream", "request", "requestJson", "fetch", "signOut", "close", "addEventListener", "removeEventListener"];

let fetching; // fetch.js, once it is loaded: from then on what is asked is looked at before `fetch` returns

export class Link extends EventTarget {
  state = "connecting";
  context;
  server;
  device;
  services;
  standing;
  stepUp = this.#asks("stepUp");
  passkeys = { register: this.#asks("register"), list: this.#asks("list"), remove: this.#asks("remove") };
  altered;
  nextAttemptAt;
  incoming;
  incomingBidirectionalStreams;
  kept = [];
  /** @private */
  _url;
  /** @private Channels and streams of the session, by id. */
  _channels = new Map();
  #line;
  #waiting = []; // [work, fail] until the line exists
  #end; // the DuologueError after which nothing works
  #ready = deferred();
  #closed = deferred();
  #incoming = new Queue();
  #streams; // the controller of `incomingBidirectionalStreams`, while somebody may read it
  #closing = false;
  #tries = TRIES; // for scripts that this link cannot begin without
  #failing = false;
  #debug; // hears what becomes of the line
  #where; // { url }: what may say why the line cannot be
  #tokens; // of the person, if the link shows any
  #snapshots; // for the page after this one
  #renewal; // [place, identity, where that is kept, if not in IndexedDB]
  #kept = Promise.resolve(); // what was learnt of the server is stored, or cannot be

  /** @private */
  constructor(options) {
    super();
    for (const name of METHODS) this[name] = this[name].bind(this);
    this._url = options.url;
    this.ready = this.#ready.promise;
    this.closed = this.#closed.promise;
    this.ready.catch(() => {}); // whoever waits hears it; nobody need wait
    const incoming = this.#incoming;
    this.incoming = { [Symbol.asyncIterator]: () => ({ next: () => incoming.next(), return: async () => ({ done: true }) }) };
    this.incomingBidirectionalStreams = new ReadableStream({
      start: (controller) => (this.#streams = controller),
      cancel: () => (this.#streams = undefined),
    });
    if (options.debug) this.#debug = this.#watched(options.debug);
    // At once: whoever reads the address bar, or the history, later than that finds no secret.
    if (options.clearInvite !== false) clearInvite(inviteOf(options.invite));
    options.signal?.addEventListener("abort", () => this.close("aborted"), { once: true });
    this.#start(options).catch((error) => this.#fail(error));
    if (options.signal?.aborted) this.close("aborted");
  }

  channel(label, options) {
    return new Channel(this, label, undefined, options);
  }

  get roundTrip() {
    return this.#line?.roundTrip();
  }

  createBidirectionalStream(label, options) {
    const name = String(label);
    return new Promise((resolve, reject) =>
      this._run((line) => resolve(new BidirectionalStream(this, name, line, options)), reject),
    );
  }

  async request(label, data, { signal, timeout } = {}) {
    signal?.throwIfAborted();
    if (timeout !== undefined) toMillis(timeout);
    let message = toMessage(data);
    // Bytes that nobody may change meanwhile: a request without them would be another.
    if (!this.#line) message = message.slice();
    const channel = this.channel(label);
    const sent = channel.send(message);
    sent.catch(() => {}); // an answer, or its absence, says more
    channel.finish();
    const stop = deferred();
    const give = (code, error) => {
      stop.reject(error); // first: it says more than the end of the channel, which is next
      channel._reset(code, wrap(error));
    };
    const abort = () => give(RESET_CANCELLED, signal.reason);
    const late = () => give(RESET_DEADLINE, new DuologueError("deadline", "The answer did not come in time."));
    signal?.addEventListener("abort", abort, { once: true });
    const stopTimer = after(timeout ?? Infinity, late);
    try {
      const { value, done } = await Promise.race([channel._next(), stop.promise]);
      if (done) throw new DuologueError("no-answer", "The service has finished without an answer.");
      return value;
    } finally {
      stopTimer();
      signal?.removeEventListener("abort", abort);
      // Reads the end, so that the channel can go.
      channel._next().catch(() => {});
    }
  }

  async requestJson(label, value, options) {
    return fromJson(await this.request(label, toJson(value), options));
  }

  async fetch(input, init) {
    const { signal = input?.signal } = init ?? {};
    fetching ??= await loadScript(() => import("./fetch.js"), TRIES, (tried) => {
      if (signal?.aborted) throw signal.reason;
      if (this.#end) throw new TypeError(`Failed to fetch: ${this.#end.message}`, { cause: this.#end });
      return this.state !== "open" && (tried || this.state !== "connecting");
    });
    return fetching.send(this, input, init);
  }

  renewKey() {
    return this.#later(() => import("./renew.js"), "renew", () => this.#renewal);
  }

  path() {
    return this.#later(() => import("./path.js"), "report");
  }

  async signOut() {
    this.#tokens?.stop();
    this.#snapshots?.drop();
    await this.#later(() => import("./token.js"), "signOut");
  }

  /** What is asked of a script that is loaded for it. */
  async #later(get, name, given) {
    if (this.#end) throw this.#end;
    const script = await this.#script("not-loaded", get);
    return script[name](this, given);
  }

  #asks(name) {
    return (given) => this.#later(() => import("./passkeys.js"), name, given);
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

  /** The core, here or in a worker: the same surface, but that the latter's questions are answered later. */
  async #reach(worker, url, keeps, isForTabs) {
    const onContext = (context) => {
      this.context = context;
      this.#debug?.("context", context);
    };
    const onLeft = ({ code, message }) => this.#debug?.("leave", `${code}: ${message}`);
    const way = { url, ended: this.closed, onContext, onLeft, onState: (state) => this.#become(state) };
    if (!worker) {
      onContext("page");
      if (isForTabs) await import("./worker/ways.js").then(({ takePlace }) => takePlace(way)).catch(() => {}); // without it: as without locks
      return ready(keeps);
    }
    const remote = await this.#script("worker-lost", async () => await import("./worker/remote.js"));
    return remote.reach(worker, way);
  }

  /** Chromium asks the person before a page reaches their own network: to be asked in time, and to be told what for. */
  async #permit(url) {
    const tell = (detail) => this.#announce("permission", detail);
    await import("./probe.js").then(({ permit }) => permit(url, tell)).catch(() => {}); // without it the socket tells
  }

  /** One that this link cannot begin without. */
  #script(code, get) {
    return loadScript(get, this.#tries, () => {
      if (this.#end) throw this.#end;
    }).catch(({ message }) => {
      throw new DuologueError(code, `A script cannot be loaded: ${message}`);
    });
  }

  async #start(options) {
    if (!globalThis.crypto?.subtle) {
      throw new DuologueError("insecure-context");
    }
    if (!options.identity && !("indexedDB" in globalThis)) {
      throw new DuologueError("no-store");
    }
    if (options.firstTry !== undefined && options.firstTry !== "wait") {
      throw new TypeError('`firstTry` is "wait", or not given.');
    }
    if (options.firstTry) this.#tries = Infinity;
    const Socket = options.WebSocket ?? globalThis.WebSocket;
    if (!Socket) throw new DuologueError("no-websocket");
    // Loaded only by those who need it.
    const keys = options.identity && (await this.#script("unreachable", () => import("./identity/kept.js"))).identities(options.identity);
    const { load, createIdentity, store } = keys ?? browser;
    const url = lineUrl(options.url);
    const place = placeOf(options.url, options.account);
    this.#where = { url };
    // While the core is reached.
    const loading = load(place);
    loading.catch(() => {});
    const worker = options.worker && options.lasting && !workersLast() ? false : options.worker;
    // Where an owner has signed the server's keys, it may be another by now.
    const following = loading.then((known) => known?.keys && import("./keys.js")).catch(() => {});
    // The page after this one can go on where no worker does.
    const keeps = !worker && !options.identity && globalThis.document && navigator.locks;
    const leaving = keeps ? import("./snapshot.js").then(({ open }) => open(this, place, options)).catch(() => {}) : undefined;
    if (url.host !== globalThis.location?.host && NEAR.test(url.hostname)) await this.#permit(url);
    const core = await this.#reach(worker, url, keeps, worker !== options.worker);
    const link = inviteOf(options.invite);
    const named = link === undefined ? undefined : await core.parseInvite(link);
    let known = await loading;
    let strange = named; // of a link that names a key
    let pinned = options.serverKey ?? known?.serverKey;
    const followed = await following;
    if (followed) {
      ({ known, strange } = await followed.pinned(url, known, [named, options.serverKey]));
      pinned = strange !== undefined && strange === options.serverKey ? strange : (known.keys.next ?? known.serverKey);
    }
    const tell = async (key, device) => {
      const told = [key && keyInfo(core, key), device && deviceInfo(core, device)];
      [this.server, this.device] = await Promise.all(told);
    };
    const telling = tell(pinned, known?.device);
    // Where nothing but the line follows, it need not wait.
    const isKnown = known?.enrolled && link === undefined && options.token === undefined;
    if (isKnown) telling.catch((error) => this.#fail(error));
    else await telling;
    const replaced = named !== undefined && strange === named && pinned !== undefined && named !== pinned;
    if (replaced && !options.replacePin) {
      throw new DuologueError("pin-changed");
    }
    const serverKey = replaced ? named : (pinned ?? named);
    // Of whom nothing is known, and who has the key, is a stranger whom the server may let in.
    if (serverKey === undefined || (known && !known.device && link === undefined && options.token === undefined)) {
      throw new DuologueError(pinned === undefined ? "no-identity" : "identity-lost");
    }
    const identity = known?.device ?? (await createIdentity(place));
    this.#renewal = [place, identity, keys];
    // The pin is kept only once the line has opened: a link that leads nowhere leaves no trace.
    const enrolled = Boolean(known?.enrolled) && !replaced;
    if (!isKnown && (serverKey !== this.server?.key || !this.device)) await tell(serverKey, identity);
    let begin = () => {};
    if (options.token !== undefined) {
      const { Tokens } = await this.#script("unreachable", () => import("./token.js"));
      this.#tokens = new Tokens(options.token, this, (code, reason) => this.#announce("tokenerror", { code, reason }));
      begin = await this.#tokens.first();
    }
    if (core.Line.prototype.snapshot) this.#snapshots = await leaving;
    if (this.#end || this.#closing) return;

    // The first time, whoever sees the line open may reload at once, and must find the pin.
    let pinIsKept = enrolled;
    let dialled; // how the last first message left
    let wasOpen = false;
    let state = this.state;
    const show = () => pinIsKept && this.device && this.#become(state);
    if (isKnown) telling.then(show);
    const shown = new Uint8Array(options.observe ? Math.min(options.observeBytes ?? RECORD_LEN_MAX, RECORD_LEN_MAX) : 0);
    const blocked = (why) => this.#fail(new DuologueError("blocked-by-policy", why));
    let isLetIn = enrolled; // a guest has no ticket
    // What is known of its keys (keys.js), where it is the server of which that is.
    const isTheirs = known?.keys && [known.serverKey, known.keys.next].includes(serverKey);
    let pins = isTheirs ? { serverKey: known.serverKey, keys: known.keys } : { serverKey };
    const keep = (ticket) => {
      const kept = store(place, { ...pins, enrolled: isLetIn, ticket }, identity);
      this.#kept = within(KEPT_MILLIS, kept).catch(() => {}); // the line is good all the same
    };
    const onStanding = (told, isNew, asked) => {
      const standing = standingOf(told);
      const { level, subject, refused, secs } = standing;
      const until = secs ? new Date(Date.now() + secs * 1_000) : undefined;
      this.standing = Object.freeze({ level, subject, until, refused });
      if (refused === "signed-out" && !isNew) keep();
      this.#tokens?.told(standing, isNew, ...asked);
      this.#announce("standing", this.standing);
      return standing;
    };
    const signed = async (message) => {
      // Another page may have renewed the key since, of the same device.
      const kept = wasOpen && (await load(place).catch(() => {}))?.device;
      if (String(kept?.first) === String(identity.first ?? identity.spki)) Object.assign(identity, kept);
      const { sign, algorithm, spki } = identity;
      message.set(await sha256(spki), message.length - 32);
      return Uint8Array.of(...(await sign(message)), ALGORITHM[algorithm], ...spki);
    };
    const line = new core.Line({
      url: url.href,
      serverKey,
      invite: link,
      ticket: replaced ? undefined : known?.ticket,
      enrolled,
      algorithm: ALGORITHM[identity.algorithm],
      spki: identity.spki,
      origin: globalThis.location?.origin ?? "",
      host: url.host,
      name: options.deviceName ?? identity.name ?? "",
      observed: options.observe !== undefined,
      observedLen: shown.length,
      openSocket: (to, protocols) =>
        watchSocket(() => openSocket(this.#snapshots?.Socket ?? Socket, to, protocols), to, { blocked }),
      onRecord: (outward, bytes, length = bytes.length) => {
        // Not the view itself, whose buffer is the module's memory with all its keys; nor a new copy each time, of which
        // a large file would leave its own length as garbage.
        const seen = bytes.subarray(0, shown.length);
        shown.set(seen);
        options.observe(outward ? "out" : "in", shown.subarray(0, seen.length), length);
      },
      onSign: (connection, message) =>
        signed(message).then(
          (signature) => this.#line === line && line.provideSignature(connection, signature),
          (error) => this.#finish("no-signature", `The device key does not sign: ${error.message}`, false),
        ),
      ...this.#snapshots?.options,
      firstTryWaits: options.firstTry === "wait",
      grace: options.grace,
      place,
      asks: typeof options.token === "function",
      onOpened: (ticket, told, ...asked) => {
        const [services, standing] = labelsOf(told);
        this.services = services;
        isLetIn = Boolean(ticket);
        wasOpen = true;
        keep(ticket);
        const { behind } = onStanding(standing, true, asked);
        if (behind.subarray(64, 68).some(Boolean)) this.#follow(line, pins, behind, (now) => keep(ticket, (pins = now))).catch(() => {}); // the next time
        if (pinIsKept) return;
        this.#kept.then(() => {
          pinIsKept = true;
          show();
        });
      },
      onStanding: (told, ...asked) => onStanding(told, false, asked),
      onState: (next) => {
        state = next;
        show();
      },
      onAltered: (count) => {
        this.altered = Object.freeze({ count, since: this.altered?.since ?? new Date() });
        this.#debug?.("altered", String(count));
        this.dispatchEvent(new Event("altered"));
      },
      onNote: (what, connection, word, millis) => {
        if (what === "dial") dialled = word;
        if (what === "open") this._form = dialled; // until then, another connection carries
        this.nextAttemptAt = what === "fail" ? new Date(Date.now() + millis) : undefined;
        this.#debug?.(what, word, connection || undefined, what === "fail" ? millis : undefined);
      },
      onFresh: (code, reason) => this.#renew(line, code, reason),
      onChannel: (id, label, isStream) => this.#welcome(id, label, isStream),
      onMessages: split,
      onChanged: (id) => this._channels.get(id)?._changed(line),
      onClosed: (code, reason, byPeer) => {
        if (!wasOpen && pins.keys?.next) {
          delete pins.keys.next; // the next time by the one that has worked
          keep(known.ticket);
        }
        if (WHY.has(code)) this.#fail(new DuologueError(code, reason));
        else if (!this.#failing) this.#finish(code, reason, byPeer);
      },
    });
    begin(line);
    this.#line = line;
    this.#snapshots?.begin(line);
    const leave = () => this.#finish("normal", "The page was left.", false);
    watchPage(() => this.#line?.wake(), () => this.#line?.wake(2), leave, this.closed, this.#snapshots);
    for (const [work, fail] of this.#waiting.splice(0)) this._run(work, fail);
  }

  /** The server has told of its keys. */
  async #follow(line, pins, told, keep) {
    const { follow } = await import("./keys.js");
    const news = await follow(pins, told);
    if (!news) return;
    keep(news.now);
    if (this.#line === line) line.followKey(news.key, news.hasWorked);
  }

  #announce(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail: Object.freeze(detail) }));
  }

  #become(state) {
    if (this.#end && state !== "closed") return;
    if (state === "open") this.#ready.resolve();
    if (this.state === state) return;
    this.state = state;
    this.#debug?.("state", state);
    this.dispatchEvent(new Event("statechange"));
  }

  #welcome(id, label, isStream) {
    if (!isStream) {
      const channel = new Channel(this, label, id);
      if (label === "passkeys") this.#asks("heard")(channel).catch(() => {});
      else this.#incoming.push(channel);
      return;
    }
    const stream = new BidirectionalStream(this, label, undefined, undefined, id);
    if (this.#streams) this.#streams.enqueue(stream);
    else stream.readable.cancel(); // nobody will ever read it
  }

  /** The server knows the session no more: settles what belongs to it, while the core still answers for it. */
  #renew(line, code, reason) {
    const error = new DuologueError(code, reason);
    this.#debug?.("fresh", code);
    for (const [id, channel] of Array.from(this._channels)) {
      if (!line.broken(id)) continue; // nothing of it had left: it goes on
      this._channels.delete(id);
      channel._renewed(line, error);
    }
    // Later: whoever hears of it may open channels at once, and these belong to the new session.
    queueMicrotask(() => {
      if (!this.#end) this.#announce("fresh", { code, reason });
    });
  }

  /** Tells an application what becomes of the line; what happens until the script for that is here is told then. */
  #watched(debug) {
    const notes = [];
    let tell = (...note) => notes.push(note);
    import("./debug.js").then(({ teller }) => {
      tell = teller(debug);
      for (const note of notes) tell(...note);
    });
    const began = performance.now();
    return (...note) => tell(performance.now() - began, ...note);
  }

  /** Ends with a cause whose words have to be loaded, and which may be looked into. */
  async #fail(cause) {
    if (this.#failing) return;
    this.#failing = true;
    const { code, message } = await explained(cause, this.#where);
    this.#finish(code, message, false);
  }

  #finish(code, reason, byPeer) {
    if (this.#end) return;
    const error = new DuologueError(code, reason);
    this.#debug?.("end", `${code}: ${reason}`);
    const line = this.#line;
    for (const channel of this._channels.values()) channel._ended(line, error);
    this.#end = error;
    for (const [, fail] of this.#waiting.splice(0)) fail(error);
    this._channels.clear();
    this.#incoming.end();
    this.#streams?.close();
    this.#line = undefined;
    this.#ready.reject(error);
    this.#become("closed");
    // Whoever waits for the end may connect again at once, and must find the pin.
    this.#kept.then(() => this.#closed.resolve(Object.freeze({ code, reason, byPeer })));
    // The core goes when it has sent its last record.
    line?.free();
  }
}
