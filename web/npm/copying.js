/**
 * A socket that sends a copy, and whose errors are heard.
 *
 * Browsers copy what `send` is given before it returns, as their standard says; others may read it later, and it is a view of
 * the module's memory, which the next record overwrites. And `ws` ends the whole process over an error that nobody hears; the
 * line goes by the close that follows it.
 */

export function openSocket(Socket, url, protocols) {
  const socket = new Socket(url, protocols);
  const send = socket.send.bind(socket);
  socket.onerror = () => {};
  socket.send = (bytes) => send(bytes.slice());
  return socket;
}
