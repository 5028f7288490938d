/**
 * A socket that sends a copy. Browsers copy what `send` is given before it returns, as their standard says; others may read it
 * later, and it is a view of the module's memory, which the next record overwrites.
 */

export function openSocket(Socket, url, protocols) {
  const socket = new Socket(url, protocols);
  const send = socket.send.bind(socket);
  socket.send = (bytes) => send(bytes.slice());
  return socket;
}
