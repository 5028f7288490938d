/**
 * One file to the service `drop`: a stream for each attempt, with lines of JSON around the bytes.
 *
 *   {name, size, upload} ─►   ◄─ {offset, blocks}     the server's part of this upload, to be verified
 *   bytes from offset ─►      ◄─ {name, size, sha256} the file as it was stored, or at any time {error, message}
 *
 * A lost connection is not noticed here. A lost session is: then a new stream offers the same upload, and it goes on from
 * what the server has. The bytes flow from the disk as the server takes them; the file is never in memory as a whole.
 */


const LINE_LEN_MAX = 4_096;
/** Read from the disk at a time. */
const BLOCK_LEN = 64 * 1_024;
/** SubtleCrypto hashes only what is in memory as a whole: hence a hash over the hashes of blocks of this length. */
const HASHED_LEN = 4 * 1_024 * 1_024;
const HASH_LEN = 32;

/** What is wrong with an upload itself: the server's own word for it; or `bad-answer`, or `unreadable`. */
export class DropError extends Error {
  constructor(code, message = "") {
    super(message);
    this.code = code;
  }
}

export class Upload {
  /** Bytes that the server has taken. It never goes back while the upload lasts, whatever becomes of sessions. */
  sent = 0;
  /** The server's part of the file is being hashed. */
  checking = false;
  cancelled = false;
  /** Where the last attempt went on: bytes that the server had. */
  offset = 0;
  #file;
  #id;
  #renewed;
  #reader;

  /** `id` of an upload that was begun before; `renewed` is called with another one when the file begins anew. */
  constructor(file, id = newId(), renewed = () => {}) {
    this.#file = file;
    this.#id = id;
    this.#renewed = renewed;
  }

  get id() {
    return this.#id;
  }

  /** Sends the file, or the rest of it. Fulfils with `{name, size, sha256}` as stored; rejects with the cause. */
  async run(link) {
    this.cancelled = false;
    for (;;) {
      try {
        const stored = await this.#attempt(link);
        if (stored) return stored;
        if (this.cancelled) throw new DropError("cancelled");
        // What the server has is not the beginning of this file.
        this.#renew();
      } catch (error) {
        // What the server holds does not fit this file, and never would.
        if (error.code === "size-mismatch") this.#renew();
        if (this.cancelled || !String(error.code).startsWith("session-")) throw error;
      }
    }
  }

  cancel() {
    this.cancelled = true;
    // Ends the stream both ways, even while a write waits for the line.
    this.#reader?.cancel().catch(() => {});
  }

  #renew() {
    this.#id = newId();
    this.sent = 0;
    this.#renewed(this.#id);
  }

  async #attempt(link) {
    const stream = await link.createBidirectionalStream("drop");
    const reader = stream.readable.getReader();
    this.#reader = reader;
    if (this.cancelled) this.cancel();
    try {
      const lines = linesOf(reader);
      const header = JSON.stringify({ name: this.#file.name, size: this.#file.size, upload: this.#id });
      const bytes = new TextEncoder().encode(`${header}\n`);
      const writer = stream.writable.getWriter();
      // If it fails, the stream has ended, and the next line says why.
      await writer.write(bytes).catch(() => {});
      writer.releaseLock();
      const offset = await this.#verify(await nextLine(lines));
      if (offset === undefined) {
        reader.cancel().catch(() => {});
        return undefined;
      }
      this.offset = offset;
      const count = () => (this.sent = Math.max(this.sent, offset + stream.taken - bytes.length));
      stream.addEventListener("progress", count);
      count();
      const stored = await this.#send(stream, offset, lines);
      lines.next().catch(() => {}); // reads the end, so that the stream can go
      return stored;
    } catch (error) {
      reader.cancel().catch(() => {});
      throw error;
    }
  }

  /** How much of the file the server has, if that is the beginning of this file. */
  async #verify({ offset, blocks }) {
    if (!Number.isSafeInteger(offset) || offset < 0) throw new DropError("bad-answer");
    if (offset === 0) return 0;
    if (offset > this.#file.size) return undefined;
    this.checking = true;
    try {
      const hashes = new Uint8Array(HASH_LEN * Math.ceil(offset / HASHED_LEN));
      for (let at = 0; at < offset && !this.cancelled; at += HASHED_LEN) {
        const block = await this.#file.slice(at, Math.min(at + HASHED_LEN, offset)).arrayBuffer().catch(unreadable);
        hashes.set(await sha256(block), (at / HASHED_LEN) * HASH_LEN);
      }
      return hex(await sha256(hashes)) === blocks ? offset : undefined;
    } finally {
      this.checking = false;
    }
  }

  async #send(stream, offset, lines) {
    let fault;
    const piped = pump(this.#file.slice(offset).stream(), stream.writable).catch((error) => (fault = error));
    try {
      const { name, size, sha256 } = await nextLine(lines);
      const sound = typeof name === "string" && size === this.#file.size && /^[0-9a-f]{64}$/.test(sha256);
      if (!sound) throw new DropError("bad-answer");
      this.sent = size;
      return { name, size, sha256 };
    } catch (error) {
      this.#reader.cancel().catch(() => {}); // so that no write waits any more
      await piped;
      // A file that cannot be read ends the stream too. Errors of the line have a word for a code.
      if (fault && typeof fault.code !== "string" && !(error instanceof DropError)) unreadable(fault);
      throw error;
    }
  }
}

/**
 * What `pipeTo` does, with one buffer from beginning to end where the engine has it: the garbage of 200 MB would be
 * collected late.
 */
async function pump(readable, writable) {
  const writer = writable.getWriter();
  let reader;
  try {
    const { read, again } = blocksOf(readable);
    reader = again.reader;
    for (let block; !(block = await read()).done; again.buffer = block.value.buffer) await writer.write(block.value);
    await writer.close();
  } catch (error) {
    reader?.cancel(error).catch(() => {});
    writer.abort(error).catch(() => {});
    throw error;
  }
}

function blocksOf(readable) {
  try {
    const again = { reader: readable.getReader({ mode: "byob" }), buffer: new ArrayBuffer(BLOCK_LEN) };
    return { again, read: () => again.reader.read(new Uint8Array(again.buffer)) };
  } catch {
    const again = { reader: readable.getReader() };
    return { again, read: () => again.reader.read() };
  }
}

function unreadable(error) {
  throw new DropError("unreadable", error.message);
}

async function* linesOf(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    for (let end; (end = text.indexOf("\n")) >= 0; text = text.slice(end + 1)) yield text.slice(0, end);
    if (text.length > LINE_LEN_MAX) throw new DropError("bad-answer");
  }
}

async function nextLine(lines) {
  const { value } = await lines.next();
  const line = parse(value);
  if (typeof line !== "object" || line === null) throw new DropError("bad-answer");
  if (line.error !== undefined) throw new DropError(String(line.error), String(line.message ?? ""));
  return line;
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
export const newId = () => hex(crypto.getRandomValues(new Uint8Array(16)));
