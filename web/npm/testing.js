/**
 * A server in memory, for tests: the core of a real one, as wasm, with services that are functions.
 *
 *   connect({ WebSocket }) ─► Socket ══ messages, late by `delay` ══► core ─► Session ─► a service of the label
 *                                    ◄══════════════════════════════      ◄─ channel.js, stream.js ◄─┘
 *
 * The handshake, the records, credit, resumption are those of the protocol; only the socket is not there. Nothing is stored
 * and nobody is dialled. What a page's scripts do with the core of a client, they do here with that of the server.
 */

import { Channel } from "./channel.js";
import base64 from "./testing_core.cjs";
import init, { Server as Core, Session as Commands } from "./duologue_testing.js";
import { DuologueError } from "./errors.js";
import { BidirectionalStream } from "./stream.js";
import { httpService } from "./testing-http.js";
import { Passkeys, authenticator } from "./testing-passkeys.js";
import { MemorySocket, NextTasks } from "./testing-socket.js";
import { deferred, fromJson, namesOf } from "./values.js";

/** Numbers on the wire. */
const RESET_REFUSED = 3;
const RESET_FAILED = 4;
const RESET_NOT_ALLOWED = 7;
const RESET_STEP_UP_NEEDED = 8;
const ALGORITHMS = { 1: "Ed25519", 2: "P-256" };
/** How long a timer can be told to wait. */
const TIMER_MAX_MILLIS = 0x7fff_ffff;

let loading;

/** A service of messages. What is none of the makers below is one. */
class Service {
  constructor(kind, serve, level = 0) {
    this.kind = kind;
    this.serve = serve;
    this.level = level;
  }
}

export const answer = (respond) =>
  new Service("channel", async (channel, call) => {
    for await (const message of channel) await channel.send(await respond(message, call));
  });

export const answerJson = (respond) =>
  new Service("channel", async (channel, call) => {
    for await (const message of channel) await channel.sendJson((await respond(fromJson(message), call)) ?? null);
  });

export const stream = (serve) => new Service("stream", serve);

export const atLevel = (level, service) => {
  if (![0, 1, 2, 3].includes(level)) throw new RangeError("A level is 0, 1, 2 or 3.");
  const { kind, serve } = made(service);
  return new Service(kind, serve, level);
};

const made = (service) => (typeof service === "function" ? new Service("channel", service) : service);

export const http = (respond) => new Service("stream", httpService(respond));

export { authenticator };

/** Keeps an identity for as long as it lives. */
export function memoryIdentity() {
  let kept;
  return { load: async () => kept, store: async (bytes) => void (kept = bytes) };
}

export async function createServer(options = {}) {
  loading ??= init({ module_or_path: Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)) });
  await loading;
  return new Server(options);
}

class Server {
  url = "wss://duologue.test/line";
  WebSocket;
  /** Sessions, the newest last. */
  sessions = [];
  failures = [];
  /** @private */
  _delay = 0;
  /** @private Sockets by number. */
  _sockets = new Map();
  /** @private */
  _tasks = new NextTasks();
  #services = new Map();
  #core;
  #sessions = new Map(); // by number
  #isDue = false;
  #timer;
  #isReachable = true;
  #closed = false;
  #waiting = new Set(); // { holds, resolve }
  #lastSocket = 0;
  #token;
  #passkeys = new Passkeys();

  /** @private */
  constructor({ services = {}, delay = 0, token, passkeys = false }) {
    this.#token = token;
    this.#core = new Core(() => this.#wake());
    this.#core.serve([]);
    for (const [label, service] of Object.entries(services)) this.serve(label, service);
    if (passkeys) this.serve("passkeys", (channel, call) => this.#passkeys.serve(channel, call));
    this.delay(delay);
    const server = this;
    this.WebSocket = class extends MemorySocket {
      constructor(url, protocols) {
        super(url, server, protocols);
      }
    };
  }

  serve(label, service) {
    this.#services.set(label, made(service));
    this.#core.serve([...this.#services.keys()]);
  }

  invite() {
    return this.#core.invite(this.url.replace("wss:", "https:").replace(/\/line$/, ""));
  }

  options(more) {
    return { url: this.url, invite: this.invite(), identity: memoryIdentity(), WebSocket: this.WebSocket, ...more };
  }

  /** The newest session, once there is one. */
  async session() {
    await this.#until(() => this.sessions.length > 0);
    return this.sessions.at(-1);
  }

  cut() {
    for (const socket of [...this._sockets.values()]) socket._break();
  }

  delay(millis) {
    if (!(millis >= 0)) throw new RangeError("A delay is a number of milliseconds, 0 or more.");
    this._delay = millis;
  }

  refuse(code) {
    this.#isReachable = code !== "unreachable";
    this.#core.refuse(this.#isReachable ? (code ?? undefined) : undefined);
  }

  refusePasskeys(code) {
    this.#passkeys.refused = code;
  }

  restart() {
    this.forget("session-restarted");
  }

  forget(code) {
    const isNew = code === "session-restarted";
    this.#core.forget(code);
    if (isNew) {
      const error = new DuologueError(code, "The server was started again.");
      for (const session of this.#sessions.values()) session._ended(undefined, error);
      this.#sessions.clear();
      this.sessions.length = 0;
    }
    this.cut();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.refuse("unreachable");
    this.cut();
    clearTimeout(this.#timer);
    this._tasks.close();
  }

  async [Symbol.asyncDispose ?? Symbol.for("duologue.asyncDispose")]() {
    this.close();
  }

  // What sockets call.

  /** @private A client opens a socket; the subprotocol, none if it does not open. */
  _accept(socket, protocols) {
    if (!this.#isReachable) return undefined;
    socket._no = ++this.#lastSocket;
    const selected = this.#core.accept(socket._no, protocols.join(","), performance.now());
    if (selected === undefined) return undefined;
    this._sockets.set(socket._no, socket);
    this.#wake();
    return selected;
  }

  /** @private */
  _receive(socket, message) {
    if (!this._sockets.has(socket._no)) return;
    if (typeof message === "string") this.#core.text(socket._no, performance.now());
    else this.#core.receive(socket._no, message, performance.now());
  }

  /** @private */
  _lost(socket) {
    if (this._sockets.delete(socket._no)) this.#core.lost(socket._no, performance.now());
  }

  // What sessions call.

  /** @private */
  _close(no, isRevoked, reason) {
    this.#core.close(no, isRevoked, reason, performance.now());
  }

  /** @private */
  _vouch(no, { subject, level, secs }) {
    this.#core.vouch(no, subject, level, secs, performance.now());
  }

  /** @private */
  _present(no, is) {
    return this.#core.present(no, is, performance.now());
  }

  /** @private */
  _signOut(no) {
    this.#core.signOut(no, performance.now());
  }

  #wake() {
    if (this.#isDue || this.#closed) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      if (!this.#closed) this.#turn();
    });
  }

  #turn() {
    const ended = [];
    for (let event; (event = this.#core.poll()); ) this.#hear(event, ended);
    for (const socket of [...this._sockets.values()]) {
      for (let bytes; (bytes = this.#core.transmit(socket._no, performance.now())); ) socket._deliver(bytes);
      if (this.#core.isDone(socket._no)) socket._hangUp();
    }
    for (const no of ended) this.#core.release(no);
    this.#arm();
    for (const waiter of [...this.#waiting].filter(({ holds }) => holds())) {
      this.#waiting.delete(waiter);
      waiter.resolve();
    }
  }

  #arm() {
    clearTimeout(this.#timer);
    const at = this.#core.timeout();
    if (at === undefined) return;
    const wait = Math.min(Math.max(0, Math.ceil(at - performance.now())), TIMER_MAX_MILLIS);
    this.#timer = setTimeout(() => {
      this.#core.elapsed(performance.now());
      this.#turn();
    }, wait);
    this.#timer.unref?.(); // it keeps nobody from ending
  }

  /** What a token is worth, as the arguments of the core. */
  async #judge(token, algorithm, spki) {
    if (!this.#token) return ["token-not-taken", "", 0, undefined];
    try {
      const names = await namesOf({ algorithm: ALGORITHMS[algorithm], spki });
      const worth = await this.#token(token, Object.freeze(names));
      if (typeof worth === "string") return [worth, "", 0, undefined];
      const { subject, level, secs } = standing(worth);
      return [undefined, subject, level, secs];
    } catch (error) {
      this.failures.push({ label: "token", error });
      return ["token-malformed", "", 0, undefined];
    }
  }

  #hear([what, no, ...details], ended) {
    if (what === "judge") {
      this.#judge(...details).then((worth) => this.#core.judged(no, ...worth, performance.now()));
      return;
    }
    if (what === "session") {
      const [device, name] = details;
      const session = new Session(this, no, this.#core.session(no), device, name);
      this.#sessions.set(no, session);
      this.sessions.push(session);
      return;
    }
    const session = this.#sessions.get(no);
    if (!session) return;
    if (what === "standing") session._stand(...details);
    if (what === "evidence") {
      const [token, number, ...key] = details;
      this.#judge(token, ...key).then((worth) => this.#core.stand(no, number, ...worth, performance.now()));
    }
    if (what === "signed-out") this.#core.signedOut(no, details[0], performance.now());
    if (what === "state") session.state = details[0];
    if (what === "changed") session._changed(details[0]);
    if (what === "channel") this.#start(session, ...details);
    if (what === "closed") {
      const [code, reason] = details;
      ended.push(no);
      this.#sessions.delete(no);
      this.sessions.splice(this.sessions.indexOf(session), 1);
      session._ended(session._line, new DuologueError(code, reason));
    }
  }

  #start(session, id, label, isStream) {
    const service = this.#services.get(label);
    const kind = isStream ? "stream" : "channel";
    if (service?.kind !== kind) return session._line.reset(id, RESET_REFUSED);
    const needed = service.level ?? 0;
    if (session.standing.level < needed) return session._line.reset(id, session._refusal(needed));
    const lane = isStream ? new ServedStream(session, label, id) : new ServedChannel(session, label, id);
    lane._level = service.level;
    const call = Object.freeze({ label, device: session.device, name: session.name, session });
    const run = async () => service.serve(lane, call);
    run().then(
      () => lane._serveEnded(session),
      (error) => {
        // That the client has gone is no failure of the service.
        if (lane._isBroken) return;
        this.failures.push({ label, error });
        session._reset(id, RESET_FAILED, lane, error);
      },
    );
  }

  async #until(holds) {
    if (holds()) return;
    const waiter = { holds, ...deferred() };
    this.#waiting.add(waiter);
    await waiter.promise;
  }
}

/** What a device has at the server: what `channel.js` and `stream.js` take for a link. */
class Session {
  state = "open";
  standing = Object.freeze({ level: 0, subject: undefined });
  /** @private */
  _channels = new Map();
  /** @private */
  _line;
  /** @private When somebody has proved who they are, and shown to be there. */
  _provedAt;
  _presentAt;
  #by; // the passkey by which somebody is here
  #server;
  #no;
  #end;
  #closed = deferred();

  /** @private */
  constructor(server, no, commands, device, name) {
    this.#server = server;
    this.#no = no;
    this.device = device;
    this.name = name;
    this.closed = this.#closed.promise;
    this._line = commands;
    // The core has no clock.
    const { sendDatagram, datagramStats } = Commands.prototype;
    commands.sendDatagram = (...given) => sendDatagram.call(commands, ...given, performance.now());
    commands.datagramStats = (id) => datagramStats.call(commands, id, performance.now());
  }

  channel(label, options) {
    return new Channel(this, label, undefined, options);
  }

  async createBidirectionalStream(label, options) {
    if (this.#end) throw this.#end;
    return new BidirectionalStream(this, label, this._line, options);
  }

  close(reason = "") {
    this.#server._close(this.#no, false, reason);
  }

  revoke() {
    this.#server._close(this.#no, true, "");
  }

  vouch(worth) {
    this.#server._vouch(this.#no, standing(worth));
  }

  signOut() {
    this.#server._signOut(this.#no);
  }

  /** @private Somebody has shown to be there by this passkey. */
  _present(passkey) {
    if (!this.#server._present(this.#no, true)) return false;
    this.#by = passkey;
    this._presentAt = performance.now();
    return true;
  }

  /** @private A passkey is no more: nobody is here by it. */
  _absent(passkey) {
    if (this.#by !== passkey) return;
    this.#by = this._presentAt = undefined;
    this.#server._present(this.#no, false);
  }

  /** @private All sessions of the server. */
  _others() {
    return this.#server.sessions;
  }

  /** @private Where this level is needed: would a passkey of the person's open it, or not? */
  _refusal(needed) {
    return needed === 3 && this.standing.level === 2 ? RESET_STEP_UP_NEEDED : RESET_NOT_ALLOWED;
  }

  /** @private What is open and not allowed any more ends. */
  _stand(level, subject) {
    if (subject && (this.standing.level < 2 || this._provedAt === undefined)) this._provedAt = performance.now();
    this.standing = Object.freeze({ level, subject: subject || undefined });
    for (const [id, lane] of Array.from(this._channels)) {
      const needed = lane._level ?? 0;
      if (level >= needed) continue;
      this._line.reset(id, this._refusal(needed));
      this._release(id, lane, new DuologueError("not-allowed", "The server does not allow this."));
    }
  }

  /** @private */
  _run(work, fail = () => {}) {
    if (this.#end) return fail(this.#end);
    try {
      work(this._line);
    } catch (error) {
      fail(error instanceof DuologueError ? error : new DuologueError(error.code ?? "internal", error.message));
    }
  }

  /** @private */
  _changed(id) {
    this._channels.get(id)?._changed(this._line);
  }

  /** @private */
  _reset(id, code, lane, cause) {
    if (!this._channels.has(id)) return;
    this._line.reset(id, code);
    this._release(id, lane, new DuologueError("failed", `The service failed: ${cause?.message ?? cause}`));
  }

  /** @private Lets go of a channel whose service has returned. */
  _release(id, lane, error) {
    if (!this._channels.delete(id)) return;
    lane._ended(this._line, error);
    this._line.release(id);
  }

  /** @private */
  _ended(line, error) {
    if (this.#end) return;
    for (const lane of this._channels.values()) lane._ended(line, error);
    this.#end = error;
    this.state = "closed";
    this._channels.clear();
    this.#closed.resolve(Object.freeze({ code: error.code, reason: error.message }));
  }
}

/** What somebody is to be, checked. */
function standing({ subject, level = 2, secs }) {
  if (typeof subject !== "string" || subject === "") throw new TypeError("A `subject` is a text.");
  if (![0, 1, 2].includes(level)) throw new RangeError("The `level` of a token is 0, 1 or 2.");
  if (secs !== undefined && !(secs > 0)) throw new RangeError("`secs` is a number of seconds above 0.");
  return { subject, level, secs };
}

const returned = () => new DuologueError("closed", "The service has returned.");

/** A client's channel. What its service has sent and not awaited still goes out. */
class ServedChannel extends Channel {
  #id;
  #sends = new Set();
  _isBroken = false;

  constructor(session, label, id) {
    super(session, label, id);
    this.#id = id;
  }

  send(data) {
    const sent = super.send(data);
    this.#sends.add(sent);
    const settled = () => this.#sends.delete(sent);
    sent.then(settled, settled); // whoever does not await it, need not hear that it failed
    return sent;
  }

  _ended(line, error, why) {
    if (error) this._isBroken = true;
    super._ended(line, error, why);
  }

  /** The service has returned. */
  async _serveEnded(session) {
    while (this.#sends.size > 0) await Promise.allSettled(this.#sends);
    this.finish();
    session._release(this.#id, this, returned());
  }
}

class ServedStream extends BidirectionalStream {
  #id;
  _isBroken = false;

  constructor(session, label, id) {
    super(session, label, undefined, undefined, id);
    this.#id = id;
  }

  _ended(line, error) {
    if (error) this._isBroken = true;
    super._ended(line, error);
  }

  async _serveEnded(session) {
    // What the service has handed on, it has to end.
    if (this.writable.locked) return;
    await this.writable.close().catch(() => {});
    session._release(this.#id, this, returned());
  }
}
