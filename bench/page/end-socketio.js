/**
 * Socket.IO's client, without its long polling.
 */

import { io } from "socket.io-client";
import { roomIn } from "./lane.js";

export async function open({ socketio }) {
  const socket = io(`https://localhost:${socketio}`, { transports: ["websocket"], reconnection: false });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("connect_error", reject));
  const lane = {
    send: (bytes) => socket.emit("message", bytes),
    room: async () => {
      const { engine } = socket.io;
      if (engine.writeBuffer.length > 0) await new Promise((resolve) => engine.once("drain", resolve));
      await roomIn(engine.transport.ws);
    },
    receive: undefined,
  };
  socket.on("message", (bytes) => lane.receive(bytes));
  return { lane };
}
