const { connect } = require("duologue");
const { answer, answerJson, createServer, stream } = require("duologue/testing");

let server;
beforeAll(async () => {
  server = await createServer({
    services: {
      echo: answer((message) => message),
      add: answerJson(({ a, b }) => a + b),
      copy: stream(({ readable, writable }) => readable.pipeTo(writable)),
    },
  });
});
afterAll(() => server.close());

test("a line, cut and restarted, in memory", async () => {
  const link = connect(server.options());
  expect(new TextDecoder().decode(await link.request("echo", "hello"))).toBe("hello");
  server.cut();
  expect(await link.requestJson("add", { a: 40, b: 2 })).toBe(42);
  const { readable, writable } = await link.createBidirectionalStream("copy");
  const writer = writable.getWriter();
  writer.write("bytes");
  writer.close();
  expect(await new Response(readable).text()).toBe("bytes");
  const fresh = new Promise((resolve) => link.addEventListener("fresh", ({ detail }) => resolve(detail.code)));
  server.restart();
  expect(await fresh).toBe("session-restarted");
  link.close();
  await link.closed;
});
