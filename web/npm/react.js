/**
 * Hooks for React.
 *
 *   useLink(open) ─► Held (opens in an effect, closes a moment after the last one has gone) ─► { link, state, error, session }
 *   useChannel(held, label) ─► a channel of the current session
 *   useMessages(channel) ─► Reader (one for each channel) ─► the last messages
 *
 * React's StrictMode mounts twice in development: what is let go is closed only in the next task, and what is taken up again
 * before that stays. Nothing is opened while React renders, so that a server may render too.
 */

import { useEffect, useMemo, useState, useSyncExternalStore } from "react";

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
  #opened; // { value }

  constructor(nothing, open, close) {
    this.shown = new Shown(nothing);
    this.#open = open;
    this.#close = close;
  }

  use() {
    this.#users += 1;
    this.#opened ??= { value: this.#open(this.shown) };
    return () => {
      this.#users -= 1;
      setTimeout(() => {
        if (this.#users > 0 || !this.#opened) return;
        const { value } = this.#opened;
        this.#opened = undefined;
        this.#close(value);
      });
    };
  }
}

function useHeld(held, nothing) {
  useEffect(() => held?.use(), [held]);
  const shown = held?.shown;
  return useSyncExternalStore(shown?.subscribe ?? never, () => shown?.value ?? nothing, () => nothing);
}

function openLink(open, shown) {
  const link = open();
  const show = (change) => shown.set(Object.freeze({ ...shown.value, ...change }));
  shown.set(Object.freeze({ ...NOTHING, link, state: link.state }));
  link.addEventListener("statechange", () => show({ state: link.state }));
  link.addEventListener("fresh", () => show({ session: shown.value.session + 1 }));
  link.ready.catch((error) => show({ error }));
  link.closed.then(({ code, reason }) => {
    if (code !== "normal") show({ error: shown.value.error ?? Object.assign(new Error(reason), { code }) });
  });
  return link;
}

export function useLink(open, dependencies = []) {
  // As with useMemo, the function is the one of the render in which a dependency has changed.
  const held = useMemo(() => new Held(NOTHING, (shown) => openLink(open, shown), (link) => link.close()), dependencies);
  return useHeld(held, NOTHING);
}

export function useChannel({ link, session }, label) {
  const held = useMemo(() => {
    if (!link) return undefined;
    const open = (shown) => {
      const channel = link.channel(label);
      shown.set(channel);
      return channel;
    };
    return new Held(undefined, open, (channel) => channel.cancel());
  }, [link, session, label]);
  return useHeld(held, undefined);
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
