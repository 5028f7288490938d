/**
 * Faults that are done to all WebSockets of this page or worker, in development only.
 *
 *   break.js ══ BroadcastChannel ══► a fault ─► the browser's sockets, here and in the worker of the line
 *
 * From there nobody can tell it from one on the way: what is sent goes into the void, until the sockets are closed; one bit
 * of the next message of each is another; messages are held back.
 */

/** A path that is cut takes what is sent for a while, before anybody notices. */
const VOID_MS = 200;
const HOLD_MS = 8_000;

const sockets = new Set(); // that have sent, and are not closed
const cut = new Set(); // whose path is cut
const flips = new Set(); // those of whose next message one bit will be another
let held; // [socket, bytes] while messages are held back

const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (bytes) {
  if (!sockets.has(this)) {
    sockets.add(this);
    this.addEventListener("close", () => sockets.delete(this));
  }
  if (cut.has(this)) return;
  if (held) {
    held.push([this, bytes.slice()]); // the view is of memory that is used again
    return;
  }
  if (flips.delete(this)) {
    const other = bytes.slice();
    other[other.length >> 1] ^= 1;
    send.call(this, other);
    return;
  }
  send.call(this, bytes);
};

const FAULTS = {
  cut: () => {
    const all = [...sockets];
    for (const socket of all) cut.add(socket);
    setTimeout(() => {
      for (const socket of all) socket.close();
      cut.clear();
    }, VOID_MS);
  },
  flip: () => {
    for (const socket of sockets) flips.add(socket);
  },
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
