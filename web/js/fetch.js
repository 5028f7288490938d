/**
 * The platform's `fetch` over the line: Request in, Response out, a stream of bytes to the service `http` for each.
 *
 *   Request ─► one line of JSON, body ═► service `http` ─► backend
 *   Response ◄─ one line of JSON, body ◄═ service `http` ◄─ backend
 *
 * The browser's own Request and Response do what they do elsewhere: methods, forbidden headers, kinds of bodies, what can
 * be read how. Here are the way there and back, redirections, and abortion. `docs/PROTOCOL.md` has the lines.
 *
 * Loaded at the first `link.fetch`: a page that does not use it does not load it.
 */

import { DuologueError } from "./duologue.js";
import { lineUrl } from "./surroundings.js";

/** The server's first line: a head of 64 KiB, of which each character may take two bytes. */
const LINE_LEN_MAX = 256 * 1_024;
/** Bytes of an answer that are taken before anybody reads them, so that a short one ends when it is not read at all. */
const AHEAD_LEN = 64 * 1_024;
const REDIRECTIONS_MAX = 20;
const NULL_BODY = [204, 205, 304];
const REDIRECTIONS = [301, 302, 303, 307, 308];
const WAYS = ["arrayBuffer", "blob", "bytes", "formData", "json", "text"];
const BODY_HEADERS = ["content-encoding", "content-language", "content-location", "content-type"];

const failed = (cause) => new TypeError(`Failed to fetch: ${cause?.message ?? cause}`, { cause });
const bad = (code, message) => failed(new DuologueError(code, message));

export async function send(link, input, init) {
  if (init?.body instanceof FormData) init = { ...init, body: multipart(init.body) };
  const request = requestOf(originOf(link), input, init);
  const { signal } = request;
  const stream = hasStreams() ? request.body : streamOf(init);
  if (signal.aborted) {
    stream?.cancel(signal.reason).catch(() => {});
    throw signal.reason;
  }
  const source = await bodyOf(request, stream, init);
  const headers = new Headers(request.headers);
  if (!headers.has("accept")) headers.set("accept", "*/*");
  const languages = globalThis.navigator?.languages?.join();
  if (languages && !headers.has("accept-language")) headers.set("accept-language", languages);

  let { method } = request;
  let body = source;
  let url = new URL(request.url);
  for (let redirections = 0; ; redirections++) {
    const answer = await exchange(link, { method, url, headers, body }, signal);
    const isRedirection = REDIRECTIONS.includes(answer.status);
    if (isRedirection && request.redirect === "error") {
      throw answer.stop(bad("redirected", "The answer is a redirection, which was ruled out."));
    }
    if (isRedirection && request.redirect === "manual") {
      answer.stop();
      return dress(Response.error(), { url: bare(url), type: "opaqueredirect", redirected: false });
    }
    const location = isRedirection ? new Headers(answer.headers).get("location") : null;
    if (location === null) return responseOf(answer, method, url, redirections > 0);
    const fail = (message) => answer.stop(bad("bad-redirection", message));
    if (redirections === REDIRECTIONS_MAX) throw fail("There were more than 20 redirections.");
    const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
    if (next?.origin !== url.origin) throw fail("A redirection leads away from this line's server.");
    next.hash ||= url.hash;
    const { status } = answer;
    if (status !== 303 && body?.stream) throw fail("A body that is a stream cannot be sent again to where it was redirected.");
    if ((status < 303 && method === "POST") || (status === 303 && method !== "GET" && method !== "HEAD")) {
      method = "GET";
      body = undefined;
      for (const name of BODY_HEADERS) headers.delete(name);
    }
    answer.stop();
    url = next;
  }
}

/** The origin that the line ends at: the only one that can be asked. */
function originOf(link) {
  const url = lineUrl(link._url);
  return `${url.protocol === "ws:" ? "http" : "https"}://${url.host}`;
}

function requestOf(origin, input, init) {
  if (!(input instanceof Request)) {
    // A path is the line's, wherever the page came from.
    const page = globalThis.document?.baseURI ?? globalThis.location?.href ?? origin;
    input = new URL(input, new URL(page).origin === origin ? page : origin).href;
  }
  const stream = streamOf(init);
  if (stream && init.duplex !== "half") throw new TypeError('A body that is a stream needs `duplex: "half"`.');
  // Where the browser knows no streams as bodies, it would send their name.
  const request = new Request(input, stream && !hasStreams() ? { ...init, body: new Uint8Array() } : init);
  if (new URL(request.url).origin !== origin) throw bad("other-origin", `This line leads to ${origin} only.`);
  if (request.integrity) throw bad("not-supported", "`integrity` is not checked here, and so it is refused.");
  if (request.cache === "only-if-cached") throw bad("not-supported", "Nothing is cached here.");
  return request;
}

/** A form as bytes, its type among them: WebKit does not read the body of a Request that is a form with a file. */
function multipart(form) {
  const boundary = `duologue-${crypto.randomUUID()}`; // in small letters, as a Blob's type is
  const lines = (text) => text.replace(/\r\n?|\n/g, "\r\n");
  const quoted = (text) => `"${text.replace(/\r/g, "%0D").replace(/\n/g, "%0A").replace(/"/g, "%22")}"`;
  const parts = [...form].flatMap(([name, value]) => {
    const head = `--${boundary}\r\nContent-Disposition: form-data; name=${quoted(lines(name))}`;
    if (typeof value === "string") return [`${head}\r\n\r\n${lines(value)}\r\n`];
    const type = value.type || "application/octet-stream";
    return [`${head}; filename=${quoted(value.name)}\r\nContent-Type: ${type}\r\n\r\n`, value, "\r\n"];
  });
  return new Blob([...parts, `--${boundary}--\r\n`], { type: `multipart/form-data; boundary=${boundary}` });
}

const streamOf = (init) => (init?.body instanceof ReadableStream ? init.body : undefined);
const hasStreams = () => "duplex" in Request.prototype;

/** What is to be sent: `blob`, which can be sent again, or `stream`, once; or nothing. */
async function bodyOf(request, stream, init) {
  const own = init?.body ?? undefined;
  // That of a Request may be a stream, and may never end.
  if (stream && (own === undefined || own === streamOf(init))) return { stream };
  if (own === undefined && request.body === null) return undefined;
  const blob = await orAborted(request.blob(), request.signal);
  return own === undefined && blob.size === 0 ? undefined : { blob };
}

/** The promise, or the signal's reason if that comes first. */
function orAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** One request and its answer, as far as its head; `read` reads on, and `stop` gives the rest up. */
async function exchange(link, { method, url, headers, body }, signal) {
  const opening = link.createBidirectionalStream("http");
  const { readable, writable } = await orAborted(opening, signal).catch((error) => {
    opening.then(({ readable }) => readable.cancel()).catch(() => {});
    throw signal.aborted ? error : failed(error);
  });
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  const source = (body?.blob?.stream() ?? body?.stream)?.getReader();
  let ended; // why, if before its time: { error }
  let hear = () => {}; // called with that
  let directions = 2;
  let release;

  const over = () => --directions === 0 && release();
  const end = (error) => {
    if (ended) return;
    ended = { error };
    release();
    // Both directions: the server gives the backend's request up.
    reader.cancel().catch(() => {});
    writer.abort(error).catch(() => {});
    source?.cancel(error).catch(() => {});
    hear(error);
  };
  const abort = () => end(signal.reason);
  signal.addEventListener("abort", abort);
  release = () => signal.removeEventListener("abort", abort);
  if (signal.aborted) abort();

  const head = {
    method,
    target: url.pathname + url.search,
    headers: [...headers],
    length: body ? body.blob?.size : 0,
  };
  upload(JSON.stringify(head) + "\n", source, writer).then(over, (error) => end(failed(error)));

  const read = async () => {
    try {
      return await reader.read();
    } catch (error) {
      end(failed(error));
      throw ended.error;
    }
  };
  const answer = await headOf(read).catch((error) => end(error?.cause ? error : bad("bad-response", "The answer has no head.")));
  if (ended) throw ended.error;
  return {
    ...answer,
    read,
    /** Why it ended before its time. */
    why: () => ended?.error,
    /** Whoever is to hear that it ends before its time. */
    onEnd: (listener) => (hear = listener),
    /** Nothing comes any more; what still goes up can still be aborted. */
    over,
    stop: (error) => {
      end(error);
      return error;
    },
  };
}

/** Rejects only for what is wrong with the source: whatever the server does not take, its answer tells. */
async function upload(head, source, writer) {
  const give = (chunk) =>
    writer.write(chunk).then(
      () => true,
      () => false,
    );
  let goesOn = await give(head);
  while (source && goesOn) {
    const { value, done } = await source.read();
    if (done) break;
    if (!(value instanceof Uint8Array)) throw new TypeError("A body's stream gives a Uint8Array for each chunk.");
    goesOn = await give(value);
  }
  if (goesOn) writer.close().catch(() => {});
  else source?.cancel().catch(() => {});
}

/** The server's line, and the bytes that came with it. */
async function headOf(read) {
  let bytes = new Uint8Array();
  let at = -1;
  while (at < 0) {
    const { value, done } = await read();
    if (done) throw bad("no-answer", "The service has finished without an answer.");
    const all = new Uint8Array(bytes.length + value.length);
    all.set(bytes);
    all.set(value, bytes.length);
    at = all.indexOf(10, bytes.length);
    bytes = all;
    if (at < 0 && bytes.length > LINE_LEN_MAX) throw bad("bad-response", "The answer's head is too long.");
  }
  const line = JSON.parse(new TextDecoder().decode(bytes.subarray(0, at)));
  if (line.error) throw bad(line.error, line.message);
  return { status: line.status, statusText: line.reason, headers: line.headers, rest: bytes.subarray(at + 1) };
}

function responseOf(answer, method, url, redirected) {
  const { status, statusText, headers } = answer;
  const hasBody = method !== "HEAD" && !NULL_BODY.includes(status);
  const body = streamFrom(answer);
  if (!hasBody) body.pipeTo(new WritableStream()).catch(() => {}); // there is nothing in it but its end
  try {
    const response = new Response(hasBody ? body : null, { status, statusText, headers });
    return dress(response, { url: bare(url), type: "basic", redirected }, answer.why);
  } catch (error) {
    throw answer.stop(bad("bad-response", error.message));
  }
}

function streamFrom(answer) {
  let { rest } = answer;
  let isOver = false;
  return new ReadableStream(
    {
      start: (controller) => answer.onEnd((error) => controller.error(error)),
      pull: async (controller) => {
        if (rest.length > 0) {
          controller.enqueue(rest);
          rest = "";
          return;
        }
        // What it throws, the reader gets.
        const { value, done } = isOver ? { done: true } : await answer.read();
        if (!done) return controller.enqueue(value);
        isOver = true;
        // Until the last chunk is read, which asks here again, an abortion still ends it.
        if (controller.desiredSize < AHEAD_LEN) return;
        answer.over();
        controller.close();
      },
      cancel: () => answer.stop(),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: AHEAD_LEN }),
  );
}

const bare = (url) => url.href.split("#")[0];

/** A response says of itself what only `fetch` can make it say, and fails as its stream has, of which browsers tell less. */
function dress(response, facts, why = () => {}) {
  const own = Response.prototype;
  const properties = { clone: { value: () => dress(own.clone.call(response), facts, why) } };
  for (const [name, value] of Object.entries(facts)) properties[name] = { value };
  for (const name of WAYS.filter((name) => own[name])) {
    const value = () =>
      own[name].call(response).catch((error) => {
        throw why() ?? error;
      });
    properties[name] = { value };
  }
  return Object.defineProperties(response, properties);
}
