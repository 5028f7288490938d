/**
 * Hooks for React.
 *
 *   useLink(open) ─► Held (opens in an effect, closes a moment after the last one has gone) ─► { link, state, error, session }
 *   useChannel(held, label) ─► a channel of the current session
 *   useMessages(channel) ─► Reader (one for each channel) ─► the last messages
 *
 * React's StrictMode mounts twice in development: what is let go is closed only in the next task, and what is taken up again
 * before that stays. Nothing is opened while React renders, so that a server may render too.
 *
 * When a component is saved, hot reload (Fast Refresh) runs all its hooks again, whatever their dependencies say: what was made
 * of the same dependencies by the same text stays. Where the save changes the component's hooks, React mounts it anew, with
 * nothing of what it was; then what the old one lets go is what the new one takes up (`reload.js`).
 */

import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";

import { hotReload } from "./reload.js";

const NOTHING = Object.freeze({ link: undefined, state: "connecting", error: undefined, session: 0 });
const NO_MESSAGES = Object.freeze([]);
const never = () => () => {};

/** What a component shows: one value, replaced when it changes. */
class Shown {
  #listeners = new Set();

  constructor(value) {
    this.value = value;
  }

  set(value) {
    this.value = value;
    for (const listener of [...this.#listeners]) listener();
  }

  get isWatched() {
    return this.#listeners.size > 0;
  }

  subscribe = (listener) => {
    this.#listeners.add(listener);
    this.watched?.();
    return () => this.#listeners.delete(listener);
  };
}

/** Something that is opened when it is first used, and closed when nobody has used it for a task. */
class Held {
  shown;
  #open;
  #close;
  #users = 0;
  #opened; // { value, shown }: whoever holds it shows what comes of it

  /** What it is opened by: a text, and values that are the same where it would be the same. */
  constructor(nothing, open, close, text, dependencies) {
    this.shown = new Shown(nothing);
    this.#open = open;
    this.#close = close;
    this.text = text;
    this.dependencies = dependencies;
  }

  use() {
    this.#users += 1;
    this.#opened ??= this.#inherit() ?? this.#begin();
    return () => {
      this.#users -= 1;
      hotReload.letGo(this);
      setTimeout(() => this.#endUnlessUsed(), hotReload.patienceMillis);
    };
  }

  isMadeOf(text, dependencies) {
    const same = (value, index) => Object.is(value, dependencies[index]);
    return this.text === text && this.dependencies.length === dependencies.length && this.dependencies.every(same);
  }

  #begin() {
    const opened = { shown: this.shown };
    opened.value = this.#open((next) => opened.shown.set(next(opened.shown.value)));
    return opened;
  }

  /** While components are mounted anew by a hot reload, what one of them has just let go. */
  #inherit() {
    const other = hotReload.take((held) => held.#users === 0 && held.#opened && held.isMadeOf(this.text, this.dependencies));
    if (!other) return undefined;
    const opened = other.#opened;
    other.#opened = undefined;
    opened.shown = this.shown;
    this.shown.set(other.shown.value);
    return opened;
  }

  #endUnlessUsed() {
    if (this.#users > 0 || !this.#opened) return;
    const { value } = this.#opened;
    this.#opened = undefined;
    this.#close(value);
  }
}

/** What `make` makes of these dependencies, for as long as they are the same. */
function useKept(make, text, dependencies) {
  const committed = useRef(undefined);
  const held = useMemo(() => {
    // Called for dependencies that have not changed, too: by hot reload, and wherever React forgets what it has memoised.
    const last = committed.current;
    return last?.isMadeOf(text(), dependencies) ? last : make(text());
  }, dependencies);
  useEffect(() => {
    committed.current = held;
  }, [held]);
  return held;
}

function useHeld(held, nothing) {
  useEffect(() => held?.use(), [held]);
  const shown = held?.shown;
  return useSyncExternalStore(shown?.subscribe ?? never, () => shown?.value ?? nothing, () => nothing);
}

function openLink(open, show) {
  const link = open();
  const change = (changed) => show((shown) => Object.freeze({ ...shown, ...changed }));
  show(() => Object.freeze({ ...NOTHING, link, state: link.state }));
  link.addEventListener("statechange", () => change({ state: link.state }));
  link.addEventListener("fresh", () => show((shown) => Object.freeze({ ...shown, session: shown.session + 1 })));
  link.ready.catch((error) => change({ error }));
  link.closed.then(({ code, reason }) => {
    if (code === "normal") return;
    const ended = Object.assign(new Error(reason), { code });
    show((shown) => Object.freeze({ ...shown, error: shown.error ?? ended }));
  });
  return link;
}

export function useLink(open, dependencies = []) {
  // As with useMemo, the function is the one of the render in which a dependency has changed.
  const make = (text) => new Held(NOTHING, (show) => openLink(open, show), (link) => link.close(), text, dependencies);
  return useHeld(useKept(make, () => String(open), dependencies), NOTHING);
}

export function useChannel({ link, session }, label) {
  const dependencies = [link, session, label];
  const open = (show) => {
    const channel = link.channel(label);
    show(() => channel);
    return channel;
  };
  const make = (text) => new Held(undefined, open, (channel) => channel.cancel(), text, dependencies);
  const held = useKept(make, () => "channel", dependencies);
  return useHeld(link && held, undefined);
}

/** One for each channel, however many look at it: two iterators would take from each other. */
const readers = new WeakMap();

class Reader {
  shown = new Shown(NO_MESSAGES);
  limit = 0;
  #channel;
  #iterator;
  #isReading = false;

  constructor(channel) {
    this.#channel = channel;
    this.shown.watched = () => this.#read();
  }

  /** Reads while somebody watches: nobody's messages stop their sender. */
  async #read() {
    if (this.#isReading) return;
    this.#isReading = true;
    this.#iterator ??= this.#channel[Symbol.asyncIterator]();
    try {
      while (this.shown.isWatched) {
        const { value, done } = await this.#iterator.next();
        if (done) return; // it is reading no more, for good
        this.shown.set(Object.freeze([...this.shown.value, value].slice(-this.limit)));
      }
      this.#isReading = false;
    } catch {
      // The channel has ended before its time, which whoever sends on it learns, and the link tells.
    }
  }
}

export function useMessages(channel, { limit = 100, decode } = {}) {
  let reader;
  if (channel) {
    reader = readers.get(channel) ?? new Reader(channel);
    readers.set(channel, reader);
    reader.limit = Math.max(reader.limit, limit);
  }
  const shown = reader?.shown;
  const messages = useSyncExternalStore(shown?.subscribe ?? never, () => shown?.value ?? NO_MESSAGES, () => NO_MESSAGES);
  return useMemo(() => {
    const last = messages.slice(-limit);
    return decode ? last.map(decode) : last;
  }, [messages, limit, decode]);
}
