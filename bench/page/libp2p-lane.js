/**
 * A lane over a stream of libp2p, at both ends: its streams carry bytes, so each message has its length before it.
 */

import { LengthPrefixedDecoder } from "@libp2p/utils";
import * as lengthPrefixed from "it-length-prefixed";

export const PROTOCOL = "/duologue-bench/1";
const MESSAGE_LEN_MAX = 16 * 1_024 * 1_024;

export function laneOf(stream) {
  const decoder = new LengthPrefixedDecoder({ maxDataLength: MESSAGE_LEN_MAX, maxBufferSize: 2 * MESSAGE_LEN_MAX });
  const lane = {
    send: (bytes) => stream.send(lengthPrefixed.encode.single(bytes)),
    room: () => stream.onDrain(),
    receive: undefined,
  };
  stream.addEventListener("message", ({ data }) => {
    for (const message of decoder.decode(data)) lane.receive(message.subarray());
  });
  return lane;
}
