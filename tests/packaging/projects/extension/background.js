// A module service worker, without a bundler: all of the library, though `import()` throws here.

import { connect, forgetIdentity, hasIdentity, parseInvite } from "./duologue.js";
import { INVITE, REPORT, URL } from "./parameters.js";

const text = (bytes) => new TextDecoder().decode(bytes);

async function use() {
  const said = {};
  said.thrown = await import("./duologue.js").then(() => "nothing", (error) => error.name);
  said.named = (await parseInvite(INVITE)).key.length;

  // The identity in IndexedDB.
  const link = connect({ url: URL, invite: INVITE });
  await link.ready;
  said.request = text(await link.request("echo", "a message"));
  const channel = link.channel("echo");
  channel.send("on a channel");
  for await (const message of channel) {
    said.channel = text(message);
    channel.finish();
  }
  const stream = await link.createBidirectionalStream("echo");
  const writer = stream.writable.getWriter();
  writer.write("in a stream");
  writer.close();
  said.stream = await new Response(stream.readable).text();
  const response = await link.fetch("/page?query", { method: "POST", body: "a body" });
  said.fetch = [response.status, await response.text()];
  said.refused = await link.fetch("https://example.org/").catch(({ cause }) => cause.code);
  link.close();
  await link.closed;
  said.kept = await hasIdentity(URL);

  // The same device again; then one whose identity the extension keeps itself.
  const again = connect({ url: URL });
  said.again = text(await again.request("echo", "again"));
  let bytes;
  const identity = { load: async () => bytes, store: async (next) => void (bytes = next) };
  again.close();
  await again.closed;
  const none = connect({ url: URL, identity });
  said.unknown = await none.ready.catch(({ code }) => code);
  const worker = connect({ url: URL, worker: true });
  said.worker = await worker.ready.catch(({ code }) => code);
  await forgetIdentity(URL);
  said.forgotten = await hasIdentity(URL);
  return said;
}

// Top-level await is forbidden here too.
use()
  .catch((error) => ({ error: `${error?.code ?? error?.name}: ${error?.stack}` }))
  .then((said) => fetch(REPORT, { method: "POST", body: JSON.stringify(said) }));
