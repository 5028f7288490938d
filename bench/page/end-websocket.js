/**
 * The baseline: a bare WebSocket to the same server, over the same TLS.
 */

import { roomIn } from "./lane.js";

export async function open(_, { host }) {
  const socket = new WebSocket(`wss://${host}/bench/websocket`);
  socket.binaryType = "arraybuffer";
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the bare WebSocket does not open"));
  });
  const lane = { send: (bytes) => socket.send(bytes), room: () => roomIn(socket), receive: undefined };
  socket.onmessage = ({ data }) => lane.receive(data);
  return { lane };
}
