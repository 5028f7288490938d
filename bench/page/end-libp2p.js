/**
 * js-libp2p: Noise and yamux over a WebSocket, which is the nearest to Duologue of what there is.
 */

import { noise } from "@chainsafe/libp2p-noise";
import { yamux } from "@chainsafe/libp2p-yamux";
import { webSockets } from "@libp2p/websockets";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { PROTOCOL, laneOf } from "./libp2p-lane.js";

export async function open({ libp2p }) {
  const node = await createLibp2p({
    transports: [webSockets()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // In a browser it would not dial this machine.
    connectionGater: { denyDialMultiaddr: () => false },
  });
  return { lane: laneOf(await node.dialProtocol(multiaddr(`/dns4/localhost/tcp/${libp2p}/tls/ws`), PROTOCOL)) };
}
