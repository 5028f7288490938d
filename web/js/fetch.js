/**
 * The platform's `fetch` over the line: Request in, Response out, a stream of bytes to the service `http` for each.
 *
 *   Request ─► one line of JSON, body ═► service `http` ─► backend
 *   Response ◄─ one line of JSON, body ◄═ service `http` ◄─ backend
 *
 * The browser's own Request and Response do what they do elsewhere: methods, forbidden headers, what can be read how. What
 * is asked, and with which body, asked.js says; here are the way there and back, redirections, and abortion.
 * `docs/PROTOCOL.md` has the lines.
 *
 * Loaded at the first `link.fetch`: a page that does not use it does not load it.
 */

import { asked, readerOf, ready, reasonOf } from "./asked.js";
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
  const origin = originOf(link);
  const { request, signal, headers, body: given } = asked(origin, input, init);
  if (new URL(request.url).origin !== origin) throw bad("other-origin", `This line leads to ${origin} only.`);
  if (request.integrity) throw bad("not-supported", "`integrity` is not checked here, and so it is refused.");
  if (request.cache === "only-if-cached") throw bad("not-supported", "Nothing is cached here.");
  if (!headers.has("accept")) headers.set("accept", "*/*");
  const languages = globalThis.navigator?.languages?.join();
  if (languages && !headers.has("accept-language")) headers.set("accept-language", languages);

  let { method } = request;
  // Those of the session, which the server keeps; there is no other origin that they could be kept from.
  const credentials = request.credentials === "omit" ? "omit" : undefined;
  let body = await prepared(given, signal);
  let url = new URL(request.url);
  for (let redirections = 0; ; redirections++) {
    const answer = await exchange(link, { method, url, headers, credentials, body }, signal);
    const isRedirection = REDIRECTIONS.includes(answer.status);
    if (isRedirection && request.redirect === "error") {
      throw answer.stop(bad("redirected", "The answer is a redirection, which was ruled out."));
    }
    if (isRedirection && request.redirect === "manual") {
      answer.stop();
      return dress(Response.error(), { url: bare(url), type: "opaqueredirect", redirected: false });
    }
    const locations = isRedirection ? locationsOf(answer) : [];
    if (locations.length === 0) return responseOf(answer, method, url, redirections > 0);
    const fail = (message) => answer.stop(bad("bad-redirection", message));
    if (redirections === REDIRECTIONS_MAX) throw fail("There were more than 20 redirections.");
    if (locations.length > 1) throw fail("A redirection leads to several places.");
    const next = URL.canParse(locations[0], url) ? new URL(locations[0], url) : undefined;
    if (next?.origin !== url.origin) throw fail("A redirection leads away from this line's server.");
    next.hash ||= url.hash;
    const { status } = answer;
    if (status !== 303 && body && !body.parts) {
      throw fail("A body that is a stream cannot be sent again to where it was redirected.");
    }
    if ((status < 303 && method === "POST") || (status === 303 && method !== "GET" && method !== "HEAD")) {
      method = "GET";
      body = undefined;
      for (const name of BODY_HEADERS) headers.delete(name);
    }
    answer.stop();
    url = next;
  }
}

/** Where a redirection leads: each place once. Bytes beyond ASCII are those of UTF-8, as browsers take them. */
function locationsOf({ headers }) {
  const values = headers.filter(([name]) => name.toLowerCase() === "location").map(([, value]) => value);
  const encode = (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  return [...new Set(values.map((value) => value.replace(/[\x80-\xff]/g, encode).trim()))];
}

/** The origin that the line ends at: the only one that can be asked. */
function originOf(link) {
  const url = lineUrl(link._url);
  return `${url.protocol === "ws:" ? "http" : "https"}://${url.host}`;
}

/** The body as it can be sent. If that is aborted before, its source hears of it. */
async function prepared(given, signal) {
  if (!given) {
    if (signal.aborted) throw reasonOf(signal);
    return undefined;
  }
  const body = ready(given);
  return orAborted(body, signal).catch((error) => {
    body.then((body) => readerOf(body).cancel(error)).catch(() => {});
    throw signal.aborted ? error : failed(error);
  });
}

/** The promise, or the signal's reason if that comes first. */
function orAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => reject(reasonOf(signal));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** One request and its answer, as far as its head; `read` reads on, and `stop` gives the rest up. */
async function exchange(link, { method, url, headers, credentials, body }, signal) {
  const opening = link.createBidirectionalStream("http");
  const { readable, writable } = await orAborted(opening, signal).catch((error) => {
    opening.then(({ readable }) => readable.cancel()).catch(() => {});
    throw signal.aborted ? error : failed(error);
  });
  const [reader, writer] = [readable.getReader(), writable.getWriter()];
  const source = readerOf(body);
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
  const abort = () => end(reasonOf(signal));
  signal.addEventListener("abort", abort);
  release = () => signal.removeEventListener("abort", abort);
  if (signal.aborted) abort();

  const head = {
    method,
    target: url.pathname + url.search,
    headers: [...headers],
    length: body ? body.size : 0,
    credentials,
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
  const source = {
    start: (controller) => answer.onEnd((error) => controller.error(error)),
    pull: async (controller) => {
      if (rest.length > 0) {
        controller.enqueue(rest);
        rest = "";
        return;
      }
      // What it throws, the reader gets.
      while (!isOver) {
        const { value, done } = await answer.read();
        if (value?.length > 0) return controller.enqueue(value);
        isOver = done;
      }
      // Until the last chunk is read, which asks here again, an abortion still ends it.
      if (controller.desiredSize < AHEAD_LEN) return;
      answer.over();
      controller.close();
      controller.byobRequest?.respond(0); // whoever waits with a buffer has it back
    },
    cancel: () => answer.stop(),
  };
  try {
    return new ReadableStream({ ...source, type: "bytes" }, { highWaterMark: AHEAD_LEN });
  } catch {
    // There is no reading into a reader's own buffer here.
    return new ReadableStream(source, new ByteLengthQueuingStrategy({ highWaterMark: AHEAD_LEN }));
  }
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
