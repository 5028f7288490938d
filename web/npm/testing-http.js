/**
 * The service behind `link.fetch` as a function from a Request to a Response, as service workers and many servers have it.
 *
 *   stream ─► {"method", "target", "headers", "length"} \n body ─► Request ─► respond ─► Response ─► {"status", "reason", "headers"} \n body
 */

const LINE_LEN_MAX = 64 * 1_024;

export const httpService = (respond) => async (stream, call) => {
  const reader = stream.readable.getReader();
  const writer = stream.writable.getWriter();
  const write = (text) => writer.write(new TextEncoder().encode(text));
  let bytes = new Uint8Array();
  let end;
  while ((end = bytes.indexOf(10)) < 0) {
    const { value, done } = await reader.read();
    if (done || bytes.length > LINE_LEN_MAX) {
      await write(`${JSON.stringify({ error: "bad-request", message: "the stream ended in its first line" })}\n`);
      return writer.close();
    }
    bytes = new Uint8Array([...bytes, ...value]);
  }
  const { method, target, headers } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const rest = bytes.subarray(end + 1);
  const body = new ReadableStream({
    start: (controller) => rest.length > 0 && controller.enqueue(rest),
    pull: async (controller) => {
      const { value, done } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  const init = ["GET", "HEAD"].includes(method) ? {} : { body, duplex: "half" };
  const response = await respond(new Request(new URL(target, "https://duologue.test"), { method, headers, ...init }), call);
  const head = { status: response.status, reason: response.statusText, headers: [...response.headers] };
  await write(`${JSON.stringify(head)}\n`);
  if (response.body) {
    for (let read, source = response.body.getReader(); !(read = await source.read()).done; ) await writer.write(read.value);
  }
  await writer.close();
  writer.releaseLock();
};
