/**
 * What all ends have in common: a lane of messages, and how many are sent on it before there must be room again.
 *
 *   lane = { send(bytes), room() → a promise, receive(bytes) }      `receive` belongs to whoever runs a job
 *
 * A job begins with one message of JSON, { job, count, len }; a sink says in another, { received }, that it has all.
 */

/** Bytes that are sent between two looks for room, and messages. */
const SLICE_LEN = 4 * 1_024 * 1_024;
const SLICE_COUNT = 4_096;
/** What a WebSocket may hold unsent when more is given to it. */
const BUFFERED_MAX = 4 * 1_024 * 1_024;

export const toJson = (value) => new TextEncoder().encode(JSON.stringify(value));
export const fromJson = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

/** Bytes that no compression would make small. */
export function message(len) {
  const bytes = new Uint8Array(len);
  for (let at = 0; at < len; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(len, at + 65_536)));
  return bytes;
}

export async function sendAll(lane, count, len) {
  const bytes = message(len);
  const slice = Math.min(SLICE_COUNT, Math.ceil(SLICE_LEN / len));
  for (let sent = 1; sent <= count; sent++) {
    lane.send(bytes);
    if (sent % slice === 0) await lane.room();
  }
}

/** Browsers have no event for it. */
export async function roomIn(socket) {
  while (socket.bufferedAmount > BUFFERED_MAX) await new Promise((resolve) => setTimeout(resolve, 1));
}
