/**
 * A socket that outlives its page's sleep, where there is one: Chromium's `WebSocketStream`, with as much of a `WebSocket`'s surface as
 * the core uses. A page that was frozen, or kept for the way back, goes on over it; a `WebSocket` is dead by then.
 *
 *   send ─► write, which settles once the network has it ─► `bufferedAmount` falls ─► `whenRoom`
 *   read ─► onmessage, one after the other; none while `hold` holds: what comes then waits
 */

let held; // what reading waits for, and how it goes on: of all sockets, as a page sleeps with all of them

/** Nothing is read until `release`. */
export function hold() {
  held ??= Promise.withResolvers();
}

export function release() {
  held?.resolve();
  held = undefined;
}

export class StreamedSocket extends EventTarget {
  readyState = WebSocket.CONNECTING;
  protocol = "";
  bufferedAmount = 0;
  onopen = null;
  onmessage = null;
  onclose = null;
  #stream;
  #writer;
  #waiting; // is called when there is room

  constructor(url, protocols) {
    super();
    this.#stream = new WebSocketStream(url, { protocols });
    this.#run();
  }

  async #run() {
    const how = this.#stream.closed.then(({ closeCode }) => closeCode, ({ closeCode }) => closeCode ?? 1006);
    try {
      const { readable, writable, protocol } = await this.#stream.opened;
      [this.protocol, this.#writer] = [protocol, writable.getWriter()];
      this.#writer.closed.catch(() => {});
      if (this.readyState === WebSocket.CONNECTING) {
        this.readyState = WebSocket.OPEN;
        this.#tell("open");
      }
      const reader = readable.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        while (held) await held.promise;
        this.onmessage?.({ data: value });
      }
    } catch {
      // `closed` tells.
    }
    const code = await how;
    this.readyState = WebSocket.CLOSED;
    this.#goOn();
    if (code === 1006) this.#tell("error");
    this.#tell("close", { code });
  }

  #tell(type, more) {
    const event = Object.assign(new Event(type), more);
    this[`on${type}`]?.(event);
    this.dispatchEvent(event);
  }

  send(bytes) {
    if (this.readyState !== WebSocket.OPEN) return;
    const { length } = bytes;
    this.bufferedAmount += length;
    // A copy: the view is of memory that is used again.
    this.#writer.write(bytes.slice()).then(
      () => {
        this.bufferedAmount -= length;
        this.#goOn();
      },
      () => {}, // it is closed, which is told
    );
  }

  /** Calls once there is more room than now, or none will ever be needed. */
  whenRoom(call) {
    this.#waiting = call;
  }

  #goOn() {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }

  close() {
    if (this.readyState >= WebSocket.CLOSING) return;
    this.readyState = WebSocket.CLOSING;
    this.#stream.close();
    queueMicrotask(() => this.#goOn()); // the core is in the middle of it
  }
}
