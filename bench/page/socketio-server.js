/**
 * Socket.IO's server: `node socketio-server.js CERTIFICATE KEY`.
 */

import { createServer } from "node:https";
import { Server } from "socket.io";
import { answer, ready, tls } from "./job-server.js";

const https = createServer(tls());
// As much in a message as Duologue takes; its default is under 1 MiB.
const server = new Server(https, { transports: ["websocket"], maxHttpBufferSize: 16 * 1_024 * 1_024, cors: { origin: true } });

server.on("connection", (socket) => {
  const { conn } = socket;
  const lane = {
    send: (bytes) => socket.emit("message", bytes),
    room: () => conn.writeBuffer.length > 0 && new Promise((resolve) => conn.once("drain", resolve)),
    receive: undefined,
  };
  answer(lane);
  socket.on("message", (bytes) => lane.receive(bytes));
});

https.listen(0, "127.0.0.1", () => ready(https.address().port));
