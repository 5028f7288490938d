import { connect } from "duologue";

export default {
  async fetch(_request, env) {
    let kept;
    const identity = { load: async () => kept, store: async (bytes) => void (kept = bytes) };
    try {
      let answer;
      for (const invite of [env.INVITE, undefined]) {
        const link = connect({ url: env.URL, invite, identity });
        answer = await link.request("echo", "hello", { timeout: 20_000 });
        link.close();
        await link.closed;
      }
      return new Response(`echoed: ${new TextDecoder().decode(answer)}`);
    } catch (error) {
      return new Response(`${error?.code}: ${error?.stack ?? error}`, { status: 500 });
    }
  },
};
