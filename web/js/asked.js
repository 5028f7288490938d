/**
 * What a caller of `link.fetch` asks for: a URL or a Request, and a body of any kind, from whatever realm they come.
 *
 *   input, init ─► Request (this realm's: methods, headers, what it refuses) ─┐
 *   body: a text, bytes, a Blob, a form ─► parts, which can be sent again ────┼─► { method, url, headers, redirect, signal, body }
 *         a stream, a Request's body ────► a stream, or parts if it is short ─┘
 *
 * A frame's classes are not this page's, and a polyfill's or a second undici's are nobody's: `instanceof` says nothing. A
 * browser tells its own objects in every realm; of others their name and what they can do must say what they are.
 *
 * Bodies are not read here, and a Blob is never copied: a file of any size is read as it is sent.
 */

/** A Request's body of this length at most, which is there within so long, is sent as one whose length is known. */
const SHORT_LEN = 64 * 1_024;
const SHORT_MILLIS = 25;
/** The buffer through which a Blob or a stream is read. */
const BLOCK_LEN = 256 * 1_024;

/** What of `init` is the platform's to judge. They may be members of its class: an older Request can be an `init`. */
const MEMBERS = ["method", "headers", "redirect", "cache", "integrity", "mode", "credentials", "referrer", "referrerPolicy", "keepalive", "priority", "duplex"];

const kindOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
const isBytes = (value) => ArrayBuffer.isView(value) && kindOf(value) === "Uint8Array";
const isBlob = (value) => /^(Blob|File)$/.test(kindOf(value)) && typeof value.stream === "function";
const isStream = (value) => typeof value?.getReader === "function";
const isRequest = (value) => value instanceof Request || kindOf(value) === "Request";
/** What the platform's class itself takes for one. */
function isPlatforms(request) {
  try {
    return Object.getOwnPropertyDescriptor(Request.prototype, "url").get.call(request) === request.url;
  } catch {
    return false;
  }
}

/** Why a signal was aborted; the first ones of polyfills do not say. */
export const reasonOf = (signal) => ("reason" in signal ? signal.reason : new DOMException("The operation was aborted.", "AbortError"));

/**
 * What is asked, with the URL resolved as this page or, where the line leads elsewhere, as the line has it. Throws what the
 * Request of the platform throws. `body` is undefined, `{ parts, size }` or `{ stream, isRequests }`.
 */
export function asked(origin, input, init) {
  const given = isRequest(input) ? input : undefined;
  const foreign = given && !isPlatforms(given) ? given : undefined;
  if (!given) {
    // A path is the line's, wherever the page came from.
    const page = globalThis.document?.baseURI ?? globalThis.location?.href ?? origin;
    input = new URL(input, new URL(page).origin === origin ? page : origin).href;
  }
  const signal = signalOf(init?.signal === undefined ? given?.signal : init.signal);
  const own = init?.body ?? undefined;
  const body = own === undefined ? undefined : bodyOf(own, init.duplex);
  if (foreign?.bodyUsed) throw new TypeError("The body of this Request was read already.");
  // What is understood here, nobody else need understand: an empty body stands for it.
  const members = Object.fromEntries(MEMBERS.map((name) => [name, init?.[name]]));
  Object.assign(members, { signal: null, body: body ? new Uint8Array() : own });
  const request = new Request(foreign ? copyOf(foreign) : input, members);
  const headers = new Headers(request.headers);
  if (body?.type && !headers.has("content-type")) headers.set("content-type", body.type);
  return { request, signal: signal ?? request.signal, headers, body: body ?? bodyOfRequest(request, own === undefined && foreign) };
}

/** One of the platform's, of another class's. Of its body, that it has one. */
function copyOf({ url, method, headers, redirect, cache, integrity, body }) {
  return new Request(url, { method, headers: [...headers], redirect, cache, integrity, body: body ? new Uint8Array() : undefined });
}

function signalOf(signal) {
  if (signal === undefined || signal === null) return undefined;
  if (typeof signal.aborted === "boolean" && typeof signal.addEventListener === "function") return signal;
  throw new TypeError("`signal` is no AbortSignal.");
}

/** Undefined for what only the platform may know. */
function bodyOf(body, duplex) {
  if (isStream(body)) {
    if (duplex !== "half") throw new TypeError('A body that is a stream needs `duplex: "half"`.');
    new Response(body); // throws if it was read from
    return { stream: body };
  }
  const kind = kindOf(body);
  if (kind === "FormData") return multipart(body);
  if (isBlob(body)) return whole([body], body.type);
  if (kind === "URLSearchParams") return whole([textOf(body)], "application/x-www-form-urlencoded;charset=UTF-8");
  // Copied, as everywhere: the caller may change it.
  if (kind === "ArrayBuffer") return whole([new Uint8Array(body).slice()]);
  if (ArrayBuffer.isView(body)) return whole([new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice()]);
  return typeof body === "object" ? undefined : whole([textOf(body)], "text/plain;charset=UTF-8");
}

const textOf = (value) => new TextEncoder().encode(String(value));

const sizeOf = (part) => part.size ?? part.length;

function whole(parts, type) {
  return { parts, type, size: parts.reduce((sum, part) => sum + sizeOf(part), 0) };
}

/** A form as bytes, its type among them: WebKit does not read the body of a Request that is a form with a file. */
function multipart(form) {
  const boundary = `duologue-${crypto.randomUUID()}`;
  const lines = (text) => text.replace(/\r\n?|\n/g, "\r\n");
  const quoted = (text) => `"${text.replace(/\r/g, "%0D").replace(/\n/g, "%0A").replace(/"/g, "%22")}"`;
  const parts = [...form].flatMap(([name, value]) => {
    const head = `--${boundary}\r\nContent-Disposition: form-data; name=${quoted(lines(name))}`;
    if (typeof value === "string") return [textOf(`${head}\r\n\r\n${lines(value)}\r\n`)];
    const type = value.type || "application/octet-stream";
    return [textOf(`${head}; filename=${quoted(value.name)}\r\nContent-Type: ${type}\r\n\r\n`), value, textOf("\r\n")];
  });
  return whole([...parts, textOf(`--${boundary}--\r\n`)], `multipart/form-data; boundary=${boundary}`);
}

/** A Request's own: where browsers know no stream of it, it is copied, and `read` later. */
function bodyOfRequest(request, foreign) {
  const from = foreign || request;
  if (isStream(from.body)) return { stream: from.body, isRequests: true };
  if (/^(GET|HEAD)$/.test(request.method) || from.body === null) return undefined;
  return { read: async () => (foreign ? new Uint8Array(await foreign.arrayBuffer()) : request.blob()) };
}

/** The body as it can be sent, once what must be read for that is read. */
export async function ready(body) {
  if (body?.read) {
    const part = await body.read();
    return sizeOf(part) > 0 ? whole([part]) : undefined;
  }
  return body?.isRequests ? short(body.stream) : body;
}

/** The stream; or if its end comes soon, what was in it. */
async function short(stream) {
  const reader = blocksOf(stream);
  const parts = [];
  const late = new Promise((resolve) => setTimeout(resolve, SHORT_MILLIS));
  for (let size = 0; ; ) {
    const next = reader.read();
    next.catch(() => {}); // whoever reads on hears it
    const step = await Promise.race([next, late]);
    if (step?.done) return whole(parts);
    if (!step || !isBytes(step.value) || (size += step.value.length) > SHORT_LEN) return { reader: joined(parts, next, reader) };
    parts.push(step.value.slice());
  }
}

/** A reader that has read a little already. */
function joined(parts, next, reader) {
  return {
    read: () => {
      if (parts.length > 0) return Promise.resolve({ value: parts.shift(), done: false });
      const first = next;
      next = undefined;
      return first ?? reader.read();
    },
    cancel: (reason) => reader.cancel(reason),
  };
}

/** Reads a body from its beginning: `read` gives bytes, good until it is called again. */
export function readerOf(body) {
  const reader = body?.reader ?? (body?.stream ? blocksOf(body.stream) : body && partsReader(body.parts));
  if (!reader) return undefined;
  const read = async () => {
    const step = await reader.read();
    if (!step.done && !isBytes(step.value)) throw new TypeError("A body's stream gives a Uint8Array for each chunk.");
    return step;
  };
  return { read, cancel: (reason) => reader.cancel(reason) };
}

function partsReader(parts) {
  let next = 0;
  let blob;
  return {
    read: async () => {
      for (;;) {
        const step = await blob?.read();
        if (step && !step.done) return step;
        blob = undefined;
        if (next === parts.length) return { done: true };
        const part = parts[next++];
        if (isBytes(part)) return { value: part, done: false };
        blob = blocksOf(part.stream());
      }
    },
    cancel: async (reason) => blob?.cancel(reason),
  };
}

/** Reads through one buffer where the stream lets it: the garbage of a large file would be collected late. */
function blocksOf(stream) {
  let reader;
  try {
    reader = stream.getReader({ mode: "byob" });
  } catch {
    return stream.getReader();
  }
  // That of a polyfill may be of another kind.
  if (kindOf(reader) !== "ReadableStreamBYOBReader") return reader;
  let buffer = new ArrayBuffer(BLOCK_LEN);
  const read = async () => {
    const step = await reader.read(new Uint8Array(buffer));
    buffer = step.value?.buffer;
    return step;
  };
  return { read, cancel: (reason) => reader.cancel(reason) };
}
