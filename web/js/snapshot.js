/**
 * What a page leaves to the next one in its tab, where no worker outlives it: its session, as a snapshot. Loaded by lines that live on
 * the page's own thread.
 *
 *   page ─╮ pagehide: the core seals its session ─► sessionStorage ─► with the key of the row ─► the next page's core revives it
 *         │ pageshow: removed again; over a WebSocketStream (`lasting`) the line itself goes on (streamed.js)
 *         ╰ open: a key, wrapped by one that cannot be exported ─► IndexedDB, deleted in the transaction that reads it
 *
 * The core seals, since WebCrypto would come too late. A tab that was copied or restored has the snapshot of another, and finds no row
 * (or, if it is first, leaves none to the other). A row belongs to a page that lives as long as that holds its lock.
 */

import { BidirectionalStream, Channel, Link } from "./duologue.js";
import { transact } from "./identity/identity.js";
import { BUILD } from "./platform.js";
import { StreamedSocket, hold, release } from "./streamed.js";
import { RESET_CANCELLED } from "./values.js";

/** How long a page that has gone may take to let go of its lock. */
const LOCK_MILLIS = 2_000;
/** After which time a row without a page that has its lock is of no use to any. */
const ROW_MILLIS = 24 * 60 * 60 * 1_000;
/** Characters of the name of a row. */
const ID_LEN = 36;
/** Arguments of one call. */
const CHUNK_LEN = 32_768;
/** What is stored in the place of a session that is too much. */
const TOO_MUCH = "";

const AES = "AES-GCM";
/** In sessionStorage: of the links of this page, by their number. */
const nameOf = (place, number) => `duologue:${place}${number ? `:${number}` : ""}`;
const names = new Set(); // of links that have not ended
const rowOf = (place, id) => [place, `snapshot:${id}`];
const lockOf = (id) => `duologue-snapshot:${id}`;

/** A character for each byte. */
function toText(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK_LEN) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK_LEN));
  return text;
}

/** What the page before has left, and what this one leaves; undefined where a page can leave nothing. The two are `connect`'s. */
export async function open(link, place, { WebSocket, lasting }) {
  let number = 0;
  while (names.has(nameOf(place, number))) number++;
  const name = nameOf(place, number);
  names.add(name);
  link.closed.then(() => names.delete(name));
  let stored;
  try {
    stored = sessionStorage.getItem(name);
  } catch {
    return undefined; // it may have no storage
  }
  const taken = stored ? await take(place, stored).catch(() => {}) : undefined;
  if (stored !== null) sessionStorage.removeItem(name);
  const Outliving = lasting && !WebSocket && globalThis.WebSocketStream ? StreamedSocket : undefined;
  return new Snapshots(link, place, name, { ...taken, build: BUILD }, stored === TOO_MUCH, Outliving);
}

/** What was left under `stored`, for the core; undefined if it is somebody else's by now. */
async function take(place, stored) {
  const id = stored.slice(0, ID_LEN);
  const signal = AbortSignal.timeout(LOCK_MILLIS);
  const read = () =>
    transact("readwrite", (rows) => {
      const row = rows.get(rowOf(place, id));
      rows.delete(rowOf(place, id));
      return row;
    });
  const row = await navigator.locks.request(lockOf(id), { signal }, read);
  if (!row) return undefined;
  const key = await crypto.subtle.decrypt({ name: AES, iv: row.iv }, row.wrapper, row.wrapped);
  return { snapshot: Uint8Array.from(stored.slice(ID_LEN), (byte) => byte.charCodeAt(0)), snapshotKey: new Uint8Array(key) };
}

class Snapshots {
  /** For the core. */
  options;
  /** Of sockets that outlive a page's sleep; undefined where there are none. */
  Socket;
  #link;
  #line;
  #place;
  #name;
  #row; // its key; none before it is kept, nor once nobody is to go on with the session
  #key;
  #count = 0; // of snapshots under that key
  #letGo; // of the lock
  #hasLeft = false;
  #isOver = false;

  constructor(link, place, name, options, wasTooMuch, Socket) {
    this.#link = link;
    this.#place = place;
    this.#name = name;
    this.options = options;
    this.Socket = Socket;
    const others = new BroadcastChannel("duologue");
    others.onmessage = ({ data }) => data.forgotten === place && link.close("The identity was forgotten.");
    link.closed.then(() => {
      others.close();
      this.drop();
    });
    link.ready.then(() => {
      if (wasTooMuch) {
        const detail = Object.freeze({ code: "not-kept", reason: "The page before had more than can be kept." });
        link.dispatchEvent(new CustomEvent("fresh", { detail }));
      }
      return this.#prepare();
    }).catch(() => {}); // it leaves nothing
  }

  /** The page's line. */
  begin(line) {
    this.#line = line;
    if (!this.options.snapshot) return;
    this.#link.kept = offer(this.#link, line);
    this.#link.addEventListener("fresh", () => (this.#link.kept = []), { once: true });
  }

  /** A key for what this page leaves. */
  async #prepare() {
    const [key, iv] = [crypto.getRandomValues(new Uint8Array(32)), crypto.getRandomValues(new Uint8Array(12))];
    const wrapper = await crypto.subtle.generateKey({ name: AES, length: 256 }, false, ["encrypt", "decrypt"]);
    const wrapped = await crypto.subtle.encrypt({ name: AES, iv }, wrapper, key);
    const row = { id: crypto.randomUUID(), wrapper, wrapped, iv, since: Date.now() };
    await this.#put(row);
    if (this.#isOver) return this.#remove(row);
    [this.#key, this.#row] = [key, row];
    this.#hold();
    await sweep(this.#place);
  }

  #put(row) {
    return transact("readwrite", (rows) => rows.put(row, rowOf(this.#place, row.id)));
  }

  #remove({ id }) {
    return transact("readwrite", (rows) => rows.delete(rowOf(this.#place, id)));
  }

  #hold() {
    const held = () => new Promise((resolve) => (this.#letGo = resolve));
    navigator.locks.request(lockOf(this.#row.id), held).catch(() => {});
  }

  /** The page stops running, and may be shown again. */
  freeze() {
    if (!this.Socket || this.#hasLeft) return;
    this.#line.freeze();
    this.#line.flush();
  }

  /** The page is left; `isKept` if the browser may show it again. False if its session cannot be kept: nobody else can go on with it. */
  leave(isKept) {
    if (this.#hasLeft) return true;
    if (!this.#row) return false;
    const [link, line] = [this.#link, this.#line];
    for (const channel of link._channels.values()) channel._post?.();
    const staysOpen = isKept && this.Socket !== undefined;
    // Whoever comes next may be somebody else; but who comes back to this page is who has left it.
    if (staysOpen) line.freeze();
    else line.here(false);
    line.flush();
    if (!this.#seal() && !staysOpen) {
      line.here(true);
      return false;
    }
    this.#hasLeft = true;
    // Nothing leaves or comes behind the snapshot.
    if (staysOpen) hold();
    line.leave(staysOpen);
    this.#letGo?.();
    // What the application does when it hears of that goes along.
    let isDue = false;
    link._run = (work, fail) => {
      Link.prototype._run.call(link, work, fail);
      if (isDue) return;
      isDue = true;
      queueMicrotask(() => {
        isDue = false;
        if (this.#hasLeft) this.#seal();
      });
    };
    return true;
  }

  /** Leaves the session as it is now, or that it is too much; which of them. */
  #seal() {
    const isWhole = Array.from(this.#link._channels.values(), (channel) => channel._handBack(this.#line)).every(Boolean);
    const sealed = isWhole ? this.#line.snapshot(this.#key, this.#count++, BUILD) : undefined;
    try {
      if (sealed) {
        sessionStorage.setItem(this.#name, this.#row.id + toText(sealed));
        return true;
      }
    } catch {
      // It has no room.
    }
    sessionStorage.setItem(this.#name, TOO_MUCH);
    return false;
  }

  /** It is shown again. Whoever has taken the row meanwhile goes on with the session; the server sees by its counts who is late. */
  back() {
    release();
    if (!this.#hasLeft) return;
    this.#hasLeft = false;
    delete this.#link._run;
    sessionStorage.removeItem(this.#name);
    this.#hold();
    this.#put(this.#row).catch(() => {});
    this.#line.here(true);
  }

  /** Nobody is to go on with it. */
  drop() {
    this.#isOver = true;
    if (!this.#row) return;
    this.#letGo?.();
    this.#remove(this.#row).catch(() => {});
    this.#row = undefined;
  }
}

/** The channels of a session that was revived, for the application to claim. */
function offer(link, line) {
  const offered = line.kept().map(([id, label, isStream, priority, tail, sent, isFinished]) => {
    let isClaimed = false;
    const claim = () => {
      if (isClaimed) throw new TypeError("This channel was claimed, or is over.");
      isClaimed = true;
      const channel = isStream
        ? new BidirectionalStream(link, label, undefined, undefined, id, isFinished)
        : new Channel(link, label, id, { priority: priority, tail }, sent, isFinished);
      queueMicrotask(() => link._channels.get(id) === channel && link._run((line) => channel._changed(line)));
      return channel;
    };
    // What was pending leaves; then it is over.
    const leave = () => {
      if (isClaimed) return;
      isClaimed = true;
      const end = (line) => {
        if (!line.broken(id) && line.taken(id) < sent) return;
        link._channels.delete(id);
        line.reset(id, RESET_CANCELLED);
        line.release(id);
      };
      link._channels.set(id, { _changed: end, _renewed() {}, _ended() {}, _handBack: () => true });
      link._run(end);
    };
    return [Object.freeze({ label, isStream, sent, claim }), leave];
  });
  // At the end of the first task in which the line is open.
  link.ready.then(() => setTimeout(() => offered.forEach(([, leave]) => leave())), () => {});
  return Object.freeze(offered.map(([channel]) => channel));
}

/** Removes the rows of pages that have crashed. */
async function sweep(place) {
  const { held } = await navigator.locks.query();
  const names = new Set(held.map(({ name }) => name));
  const all = IDBKeyRange.bound([place, "snapshot:"], [place, "snapshot;"]);
  const rows = await transact("readonly", (rows) => rows.getAll(all));
  const old = rows.filter(({ id, since }) => !names.has(lockOf(id)) && since < Date.now() - ROW_MILLIS);
  for (const { id } of old) await transact("readwrite", (rows) => rows.delete(rowOf(place, id)));
}
