const { connect } = require("duologue");
const WebSocket = require("ws");

test("echo", async () => {
  let kept;
  const identity = { load: async () => kept, store: async (bytes) => void (kept = bytes) };
  const { DUOLOGUE_URL: url, DUOLOGUE_INVITE: invite } = process.env;
  const link = connect({ url, invite, identity, WebSocket });
  const answer = await link.request("echo", "hello", { timeout: 20_000 });
  expect(new TextDecoder().decode(answer)).toBe("hello");
  link.close();
  await link.closed;
}, 30_000);
