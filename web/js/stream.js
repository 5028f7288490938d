/**
 * A stream of bytes each way, as the two halves that browsers know: ReadableStream and WritableStream.
 *
 *   file.stream() ─pipeTo─► writable ─(waits while full)─► core ═► the other application ─► taken, `progress`
 *   reader.read() ─► pull ─► core                                  (nothing is taken before the page reads)
 *
 * Each half waits for its own side, so that a slow reader at either end stops the writer at the other, and no memory
 * fills in between. After its end a stream never uses its id again: in the next session the number may be another's.
 */

import { DuologueError, cancelledHere, wrap } from "./errors.js";
import { RESET_CANCELLED, toBytes, toKind } from "./values.js";

/** What is given to the core at once: small enough to find room in its queue of 256 KiB while that drains. */
const SLICE_LEN = 128 * 1_024;

export class BidirectionalStream extends EventTarget {
  #link;
  #id;
  #taken = 0;
  #source; // the controllers of the two halves
  #sink;
  #wanted = false; // a read waits
  #rest = []; // what had arrived when the stream ended
  #readError; // what a reader finds after `rest`; none if the other end had finished
  #readOver = false;
  #writing; // { bytes, whole (their length), at, resolve, reject }: the chunk that is being given to the core
  #closing; // { resolve, reject }
  #writeOver = false;
  #over = false;
  #error; // why it is over, if before its time
  missed = 0;

  /** @private */
  constructor(link, label, line, options, id = line.open(label, true, ...toKind(options)), isFinished = false) {
    super();
    this.#link = link;
    this.#id = id;
    this.label = label;
    this.#writeOver = isFinished;
    const cancel = () => {
      this.#readOver = true;
      this.#cancel();
    };
    this.readable = new ReadableStream(
      { start: (controller) => (this.#source = controller), pull: () => this.#pull(), cancel },
      { highWaterMark: 0 },
    );
    this.writable = new WritableStream({
      start: (controller) => {
        this.#sink = controller;
        // Not the sink's own `abort`, which waits for the write that waits for the server.
        controller.signal.addEventListener("abort", () => this.#abort());
      },
      write: (chunk) => this.#write(chunk),
      close: () => this.#close(),
    });
    link._channels.set(id, this);
  }

  get taken() {
    return this.#taken;
  }

  discard() {
    this.#run((line) => {
      if (this.#writing) this.#writing.at = this.#writing.whole;
      line.discard(this.#id);
      this.#pump(line);
    });
  }

  /** @private Something about this stream is new. */
  _changed(line) {
    const grown = this.#count(line);
    const why = line.broken(this.#id);
    if (why) {
      this.#break(line, new DuologueError(why.code, why.message));
    } else {
      this.#pump(line);
      this.#settleClose(line);
      this.#receive(line);
    }
    if (grown) this.dispatchEvent(new Event("progress"));
  }

  /** @private The core has what nobody has read; a chunk that is being given to it ends where `sent` says. */
  _handBack() {
    return true;
  }

  /** @private Nothing comes or goes any more: whatever is pending settles, and what had arrived can still be read. */
  _ended(line, error) {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    this.#readError = error;
    if (line) {
      // Whoever listens may open channels, and must not while a session is being put away.
      if (this.#count(line)) queueMicrotask(() => this.dispatchEvent(new Event("progress")));
      if (this.#closing && line.allTaken(this.#id)) this.#closed();
      this.#drain(line);
    }
    this.#writing?.reject(error._with(this.#writing.at === 0 ? "not sent" : "unknown"));
    this.#writing = undefined;
    this.#closing?.reject(error._with("unknown"));
    this.#closing = undefined;
    if (!this.#writeOver) this.#sink.error(error);
    this.#writeOver = true;
    if (this.#rest.length === 0 || this.#wanted) this.#serve();
  }

  #run(work, fail = () => {}) {
    this.#link._run((line) => (this.#over ? fail(this.#error) : work(line)), fail);
  }

  /** Ends both directions; the session lives on. */
  #break(line, error) {
    this._ended(line, error);
    this.#release(line);
  }

  #cancel() {
    this.#run((line) => {
      line.reset(this.#id, RESET_CANCELLED);
      this.#break(line, cancelledHere());
    });
  }

  #abort() {
    // The writable is failing already, with the reason that its owner gave.
    this.#writeOver = true;
    this.#cancel();
  }

  #count(line) {
    const taken = line.taken(this.#id);
    const grown = taken > this.#taken;
    if (grown) this.#taken = taken;
    return grown;
  }

  // The way out.

  #write(chunk) {
    return new Promise((resolve, reject) => {
      try {
        const bytes = toBytes(chunk);
        this.#writing = { bytes, whole: bytes.length, at: 0, resolve, reject };
      } catch (error) {
        this.#abort();
        throw error;
      }
      this.#run(
        (line) => this.#pump(line),
        (error) => reject(error._with("not sent")),
      );
    });
  }

  #pump(line) {
    const writing = this.#writing;
    if (!writing) return;
    try {
      while (writing.at < writing.whole) {
        if (writing.bytes.length !== writing.whole) {
          line.reset(this.#id, RESET_CANCELLED); // or the stream would have a gap
          throw new DuologueError("detached", "The buffer was given away before its bytes had left.");
        }
        const slice = writing.bytes.subarray(writing.at, writing.at + SLICE_LEN);
        const written = line.write(this.#id, slice);
        writing.at += written;
        if (written < slice.length) return;
      }
    } catch (error) {
      this.#break(line, wrap(error));
      return;
    }
    this.#writing = undefined;
    writing.resolve();
  }

  #close() {
    return new Promise((resolve, reject) => {
      this.#closing = { resolve, reject };
      this.#run(
        (line) => {
          line.finish(this.#id);
          this.#settleClose(line);
        },
        (error) => reject(error._with("unknown")),
      );
    });
  }

  #settleClose(line) {
    if (!this.#closing || !line.allTaken(this.#id)) return;
    this.#closed();
    this.#releaseWhenDone(line);
  }

  #closed() {
    this.#closing.resolve();
    this.#closing = undefined;
    this.#writeOver = true;
  }

  // The way in.

  #pull() {
    this.#wanted = true;
    this.#run(
      (line) => this.#receive(line),
      () => this.#serve(),
    );
  }

  #receive(line) {
    if (!this.#wanted || this.#readOver) return;
    let chunk;
    try {
      chunk = line.recv(this.#id);
      this.missed = line.missed(this.#id);
    } catch (error) {
      this.#break(line, wrap(error));
      return;
    }
    if (chunk === undefined) return;
    if (chunk === null) {
      this.#readOver = true;
      this.#source.close();
      this.#releaseWhenDone(line);
      return;
    }
    this.#wanted = false;
    this.#source.enqueue(chunk);
  }

  #drain(line) {
    if (this.#readOver) return;
    try {
      let chunk;
      while ((chunk = line.recv(this.#id))) this.#rest.push(chunk);
      this.missed = line.missed(this.#id);
      if (chunk === null) this.#readError = undefined;
    } catch {
      // It says that the stream has ended; whoever drains it knows why.
    }
  }

  /** What is left to read after the end, and then the end. */
  #serve() {
    if (this.#readOver) return;
    const chunk = this.#rest.shift();
    if (chunk) {
      this.#wanted = false;
      this.#source.enqueue(chunk);
      return;
    }
    this.#readOver = true;
    if (this.#readError) this.#source.error(this.#readError);
    else this.#source.close();
  }

  #releaseWhenDone(line) {
    if (!this.#readOver || !this.#writeOver || this.#over) return;
    this.#over = true;
    this.#release(line);
  }

  #release(line) {
    if (this.#link._channels.delete(this.#id)) line.release(this.#id);
  }
}
