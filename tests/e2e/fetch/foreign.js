// What a page gives `line.fetch` that is not made of its own realm's classes: a frame's, a polyfill's, another copy's. Behind
// cases.js, whose names it uses.

/** A frame's classes, for as long as the work takes. */
const inFrame = async (work) => {
  const frame = document.createElement("iframe");
  document.body.append(frame);
  try {
    const own = frame.contentWindow;
    if (own.Uint8Array === Uint8Array || new own.Blob() instanceof Blob) wrong("the frame has no classes of its own");
    return await work(own);
  } finally {
    frame.remove();
  }
};
const bytesOf = (own, text) => own.Uint8Array.from(encoder.encode(text));
const framesStream = (own, ...chunks) =>
  new own.ReadableStream({
    pull: (controller) => (chunks.length ? controller.enqueue(chunks.shift()) : controller.close()),
  });

/** As polyfills are: nobody's class, with the name of the real one. */
class Polyfill {
  #kind;
  constructor(kind, members) {
    this.#kind = kind;
    Object.defineProperties(this, Object.getOwnPropertyDescriptors(members));
  }
  get [Symbol.toStringTag]() {
    return this.#kind;
  }
}

Object.assign(groups, {
  foreign: {
    // Once it arrived as `GET /[object%20Request]`.
    "a frame's Request": () =>
      inFrame(async (own) => {
        const request = new own.Request("/inspect?a=b", { method: "POST", body: "text", headers: { "x-own": "1" } });
        const told = await (await fetch(request)).json();
        equal([told.method, told.target, told.body, header(told, "x-own")], ["POST", "/inspect?a=b", "text", "1"]);
        equal(header(told, "content-type"), "text/plain;charset=UTF-8");
        equal(request.bodyUsed, true);
        await refuses("TypeError", fetch(request));
        const other = new own.Request("/inspect", { method: "PUT", body: "x" });
        const over = await (await fetch(other, { method: "POST", body: bytesOf(own, "y") })).json();
        equal([over.method, over.body], ["POST", "y"]);
        const file = new own.Request("/inspect", { method: "POST", body: new own.Blob(["a file"]) });
        equal((await (await fetch(file)).json()).body, "a file");
        equal((await (await fetch(new own.Request("/inspect"))).json()).method, "GET");
      }),
    "a frame's Request with a stream": () =>
      inFrame(async (own) => {
        if (!("duplex" in Request.prototype)) return; // no Request has one here
        const body = framesStream(own, bytesOf(own, "one "), encoder.encode("two"));
        const request = new own.Request("/inspect", { method: "POST", body, duplex: "half" });
        equal((await (await fetch(request)).json()).body, "one two");
      }),
    "a frame's bodies of every kind": () =>
      inFrame(async (own) => {
        const form = new own.FormData();
        form.append("name", "value");
        form.append("file", new own.File(["in it"], "a.txt", { type: "a/b" }));
        const text = "frame's body";
        const bytes = bytesOf(own, text);
        for (const [body, type, sent] of [
          [bytes, null],
          [bytes.buffer, null],
          [new own.DataView(bytes.buffer), null],
          [bytesOf(own, `--${text}--`).subarray(2, -2), null],
          [new own.Blob([text]), null],
          [new own.File([text], "a", { type: "text/maybe" }), "text/maybe"],
          [new own.URLSearchParams("a=b&c=\u00e9"), "application/x-www-form-urlencoded;charset=UTF-8", "a=b&c=%C3%A9"],
          [new own.String(text), "text/plain;charset=UTF-8"],
        ]) {
          const told = await inspect({ method: "POST", body });
          equal([told.body, header(told, "content-type"), header(told, "content-length")], [sent ?? text, type, String((sent ?? text).length)]);
        }
        const told = await inspect({ method: "POST", body: form });
        equal(/name="name"\r\n\r\nvalue\r\n/.test(told.body) && /filename="a.txt"\r\nContent-Type: a\/b\r\n\r\nin it\r\n/.test(told.body), true);
      }),
    "a frame's streams and chunks": () =>
      inFrame(async (own) => {
        equal((await inspect(upload(framesStream(own, bytesOf(own, "one "), encoder.encode("two"))))).body, "one two");
        equal((await inspect(upload(streamOf(bytesOf(own, "one "), encoder.encode("two"))))).body, "one two");
        for (const chunk of ["text", new own.Uint16Array(1), bytesOf(own, "x").buffer]) {
          await refuses("TypeError", fetch("/inspect", upload(framesStream(own, chunk))));
        }
        await refuses("TypeError", fetch("/", { method: "POST", body: framesStream(own) }));
      }),
    "a frame's URL, Headers and init": () =>
      inFrame(async (own) => {
        const init = own.Object.assign(new own.Object(), { method: "POST", headers: new own.Headers({ "x-own": "1" }), body: "x" });
        const told = await (await fetch(new own.URL("/inspect", location.href), Object.freeze(init))).json();
        equal([told.method, told.body, header(told, "x-own")], ["POST", "x", "1"]);
      }),
    "a frame's AbortSignal": () =>
      inFrame(async (own) => {
        const reason = new Error("mine");
        await refuses(reason, fetch("/text", { signal: own.AbortSignal.abort(reason) }));
        for (const ask of [(signal) => fetch("/hang", { signal }), (signal) => fetch(new own.Request("/hang", { signal }))]) {
          const abortion = new own.AbortController();
          setTimeout(() => abortion.abort(), 50);
          await refuses("AbortError", ask(abortion.signal));
        }
      }),
    "an older Request as init": async () => {
      const old = new Request("/", { method: "PATCH", headers: { "x-own": "1" } });
      const told = await inspect(old);
      equal([told.method, header(told, "x-own")], ["PATCH", "1"]);
    },
    "another class's Request": async () => {
      const abortion = new AbortController();
      const request = (path, members) =>
        new Polyfill("Request", {
          url: new URL(path, location.href).href,
          method: "POST",
          headers: new Polyfill("Headers", { [Symbol.iterator]: () => [["x-own", "1"], ["content-type", "a/b"]].values() }),
          redirect: "follow",
          signal: abortion.signal,
          bodyUsed: false,
          body: new Polyfill("Readable", {}),
          arrayBuffer: async () => encoder.encode("read").buffer,
          ...members,
        });
      const told = await (await fetch(request("/inspect"))).json();
      const is = [told.method, told.target, told.body, header(told, "x-own"), header(told, "content-type"), header(told, "content-length")];
      equal(is, ["POST", "/inspect", "read", "1", "a/b", "4"]);
      const streamed = await (await fetch(request("/inspect", { body: streamOf(encoder.encode("streamed")) }))).json();
      equal(streamed.body, "streamed");
      const got = await (await fetch(request("/inspect", { method: "GET", body: null }))).json();
      equal([got.method, got.body], ["GET", ""]);
      await refuses("TypeError", fetch(request("/inspect", { bodyUsed: true })));
      await refuses("TypeError", fetch(request("https://example.org/")), "other-origin");
      setTimeout(() => abortion.abort(), 50);
      await refuses("AbortError", fetch(request("/hang")));
    },
    "another class's signal, form, blob and stream": async () => {
      const listeners = new Set();
      const members = {
        aborted: false,
        addEventListener: (kind, listener) => listeners.add(listener),
        removeEventListener: (kind, listener) => listeners.delete(listener),
      };
      const signal = new Polyfill("AbortSignal", { ...members, aborted: false }); // the first ones have no reason
      equal(await (await fetch("/text?body=a", { signal })).text(), "a");
      equal(listeners.size, 0, "what still listens");
      const asked = fetch("/hang", { signal });
      setTimeout(() => [...listeners].forEach((listener) => listener()), 50);
      await refuses("AbortError", asked);
      await refuses("AbortError", fetch("/text", { signal: new Polyfill("AbortSignal", { ...members, aborted: true }) }));
      await refuses("TypeError", fetch("/text", { signal: {} }));

      const blob = new Polyfill("Blob", { size: 4, type: "a/b", stream: () => streamOf(encoder.encode("bl"), encoder.encode("ob")) });
      let told = await inspect({ method: "POST", body: blob });
      equal([told.body, header(told, "content-type"), header(told, "content-length")], ["blob", "a/b", "4"]);
      const file = new Polyfill("File", { name: "f", size: 4, type: "", stream: blob.stream });
      const form = new Polyfill("FormData", { [Symbol.iterator]: () => [["a", "b"], ["file", file]].values() });
      told = await inspect({ method: "POST", body: form });
      equal(/name="a"\r\n\r\nb\r\n/.test(told.body) && /filename="f"[^]*blob\r\n/.test(told.body), true);
      equal(header(told, "content-length"), String(told.length));
      const stream = new Polyfill("ReadableStream", { locked: false, getReader: () => streamOf(encoder.encode("str"), encoder.encode("eam")).getReader() });
      equal((await inspect(upload(stream))).body, "stream");
    },
    "messages and streams of the line take a frame's bytes": () =>
      inFrame(async (own) => {
        const text = (bytes) => new TextDecoder().decode(bytes);
        for (const data of [bytesOf(own, "x"), bytesOf(own, "x").buffer, new own.DataView(bytesOf(own, "x").buffer)]) {
          equal(text(await line.request("echo", data)), "x");
          const channel = line.channel("echo");
          const sent = channel.send(data);
          for await (const message of channel) {
            equal(text(message), "x");
            break;
          }
          await sent;
          channel.datagrams.send(data);
          channel.cancel();
          const stream = await line.createBidirectionalStream("echo");
          const writer = stream.writable.getWriter();
          await writer.write(data);
          writer.close().catch(() => {});
          equal(await new Response(stream.readable).text(), "x");
        }
      }),
    "every method works unbound": async () => {
      const { fetch, request, requestJson, channel, createBidirectionalStream, addEventListener, removeEventListener } = line;
      equal(await (await fetch("/text?body=a")).text(), "a");
      equal(new TextDecoder().decode(await request("echo", "a")), "a");
      equal(await requestJson("echo", { a: 1 }), { a: 1 });
      channel("echo").cancel();
      (await createBidirectionalStream("echo")).readable.cancel();
      let heard = 0;
      const hear = () => heard++;
      addEventListener("mine", hear);
      line.dispatchEvent(new Event("mine"));
      removeEventListener("mine", hear);
      line.dispatchEvent(new Event("mine"));
      equal(heard, 1);
    },
    "what a caller changes after the call is not sent": async () => {
      const bytes = encoder.encode("before");
      const headers = new Headers({ "x-own": "before" });
      const form = new URLSearchParams("a=before");
      const asked = [inspect({ method: "POST", body: bytes, headers }), inspect({ method: "POST", body: form })];
      bytes.fill(0);
      headers.set("x-own", "after");
      form.set("a", "after");
      const [one, other] = await Promise.all(asked);
      equal([one.body, header(one, "x-own"), other.body], ["before", "before", "a=before"]);
      const request = new Request("/inspect", { method: "POST", body: "x" });
      const answer = fetch(request);
      equal(request.bodyUsed, true);
      await answer;
    },
  },
});
