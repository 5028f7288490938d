/**
 * js-libp2p's server: `node libp2p-server.js CERTIFICATE KEY`.
 */

import { noise } from "@chainsafe/libp2p-noise";
import { yamux } from "@chainsafe/libp2p-yamux";
import { webSockets } from "@libp2p/websockets";
import { createLibp2p } from "libp2p";
import { answer, ready, tls } from "./job-server.js";
import { PROTOCOL, laneOf } from "./libp2p-lane.js";

// libp2p 3 calls it, and Node has it from 22 on.
Promise.withResolvers ??= function () {
  const ends = {};
  ends.promise = new Promise((resolve, reject) => Object.assign(ends, { resolve, reject }));
  return ends;
};

async function main() {
  const node = await createLibp2p({
    addresses: { listen: ["/ip4/127.0.0.1/tcp/0/tls/ws"] },
    transports: [webSockets({ https: tls() })],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
  });
  await node.handle(PROTOCOL, (stream) => answer(laneOf(stream)));
  const port = /\/tcp\/(\d+)\//.exec(node.getMultiaddrs().join())[1];
  ready(port);
}

main();
