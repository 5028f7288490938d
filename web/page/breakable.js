/**
 * The line's worker in development: as `worker.js`, with sockets to which a fault can be done.
 *
 *   break.js ══ BroadcastChannel ══► a fault ─► the browser's socket
 *
 * From there the line cannot tell it from one on the way: the socket is closed; one bit of a sealed record is another;
 * records are held back.
 */

import "../worker.js";

const HOLD_MS = 8_000;

let socket; // that sent last: the one of the line
let flips = false;
let held; // [socket, bytes] while records are held back

const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (bytes) {
  socket = this;
  if (held) {
    held.push([this, bytes.slice()]); // the view is of memory that is used again
    return;
  }
  if (flips) {
    flips = false;
    const other = bytes.slice();
    other[other.length >> 1] ^= 1;
    send.call(this, other);
    return;
  }
  send.call(this, bytes);
};

const FAULTS = {
  cut: () => socket?.close(),
  flip: () => (flips = true),
  hold: () => {
    held = [];
    setTimeout(() => {
      const all = held;
      held = undefined;
      // What was held back for a socket that has gone is lost, as on the way.
      for (const [to, bytes] of all) if (to.readyState === WebSocket.OPEN) send.call(to, bytes);
    }, HOLD_MS);
  },
};

new BroadcastChannel("duologue-break").onmessage = ({ data }) => FAULTS[data]();
