import { connect } from "duologue";
import WebSocket from "ws";

export const dynamic = "force-dynamic";

export async function GET() {
  let kept;
  const identity = { load: async () => kept, store: async (bytes) => void (kept = bytes) };
  const { DUOLOGUE_URL: url, DUOLOGUE_INVITE: invite } = process.env;
  const link = connect({ url, invite, identity, WebSocket });
  const answer = await link.request("echo", "hello", { timeout: 20_000 });
  link.close();
  await link.closed;
  return new Response(`echoed: ${new TextDecoder().decode(answer)}`);
}
