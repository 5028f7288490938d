/**
 * A WebSocket that leads to a server in memory. Each message comes in a task of its own, as a browser gives them.
 */

/** Work for tasks to come, in order. Not by timers, which tests replace. */
export class NextTasks {
  #channel = new MessageChannel();
  #queue = [];

  constructor() {
    this.#channel.port1.onmessage = () => {
      this.#queue.shift()?.();
      this.#mind();
    };
    this.#mind();
  }

  push(work) {
    this.#queue.push(work);
    this.#mind();
    this.#channel.port2.postMessage(undefined);
  }

  close() {
    this.#channel.port1.close();
  }

  /** Where a port keeps the process from ending, it does so only while there is work. */
  #mind() {
    if (this.#queue.length > 0) this.#channel.port1.ref?.();
    else this.#channel.port1.unref?.();
  }
}

export class MemorySocket extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;
  CONNECTING = 0;
  OPEN = 1;
  CLOSING = 2;
  CLOSED = 3;
  readyState = 0;
  binaryType = "blob";
  bufferedAmount = 0;
  extensions = "";
  protocol = "";
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  #server;
  #out = []; // { at, work }: on their way to the server, then to the client
  #in = [];

  constructor(url, server, protocols = []) {
    super();
    this.url = String(url);
    this.#server = server;
    const offered = [protocols].flat();
    this.#later(this.#in, () => {
      if (this.readyState !== this.CONNECTING) return;
      const selected = server._accept(this, offered);
      if (selected === undefined) return this.#end(1006);
      this.protocol = selected;
      this.readyState = this.OPEN;
      this.#tell("open", new Event("open"));
    });
  }

  send(data) {
    if (this.readyState === this.CONNECTING) throw new Error("This WebSocket is not open yet.");
    if (this.readyState !== this.OPEN) return;
    const message = typeof data === "string" ? data : copyOf(data);
    this.#later(this.#out, () => this.#server._receive(this, message));
  }

  close() {
    if (this.readyState >= this.CLOSING) return;
    this.readyState = this.CLOSING;
    this.#later(this.#out, () => {
      this.#server._lost(this);
      this.#end(1005);
    });
  }

  /** @private A message of the server's. */
  _deliver(bytes) {
    const { buffer } = copyOf(bytes);
    this.#later(this.#in, () => {
      if (this.readyState !== this.OPEN) return;
      const data = this.binaryType === "arraybuffer" ? buffer : new Blob([buffer]);
      this.#tell("message", new MessageEvent("message", { data }));
    });
  }

  /** @private The server is done with it. */
  _hangUp() {
    this.#server._lost(this);
    this.#later(this.#in, () => this.#end(1000));
  }

  /** @private It breaks, with all that is on its way. */
  _break() {
    this.#out = [];
    this.#in = [];
    this.#server._lost(this);
    this.#server._tasks.push(() => this.#end(1006));
  }

  #end(code) {
    if (this.readyState === this.CLOSED) return;
    this.readyState = this.CLOSED;
    const event = Object.assign(new Event("close"), { code, reason: "", wasClean: code !== 1006 });
    if (code === 1006) this.#tell("error", new Event("error"));
    this.#tell("close", event);
  }

  #tell(name, event) {
    this[`on${name}`]?.call(this, event);
    this.dispatchEvent(event);
  }

  /** Does it after the server's delay, behind what is on its way already. */
  #later(queue, work) {
    const item = { work };
    queue.push(item);
    const go = () => {
      // What was cut is not in the queue any more.
      if (!queue.includes(item) || (queue !== this.#in && queue !== this.#out)) return;
      for (let done; done !== item; ) {
        done = queue.shift();
        done.work();
      }
    };
    if (this.#server._delay > 0) setTimeout(go, this.#server._delay);
    else this.#server._tasks.push(go);
  }
}

/** Bytes of this realm, in a buffer of their own. */
function copyOf(data) {
  const view = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
  const copy = new Uint8Array(view.length);
  copy.set(view);
  return copy;
}
