/**
 * The jobs as the page runs them, on any lane. Clocks run from the first send until the last message is known to be there.
 */

import { fromJson, message, sendAll, toJson } from "./lane.js";

/** Messages a second from here to the server, by the server's count. */
export async function sink(lane, count, len) {
  const answer = new Promise((resolve) => (lane.receive = resolve));
  lane.send(toJson({ job: "sink", count, len }));
  const started = performance.now();
  await sendAll(lane, count, len);
  const { received } = fromJson(await answer);
  const rate = perSecond(count, started);
  if (received !== count) throw new Error(`${received} of ${count} messages arrived at the server`);
  return rate;
}

/** Messages a second from the server to here, by the count of this page. */
export async function source(lane, count, len) {
  let received = 0;
  const all = new Promise((resolve, reject) => {
    lane.receive = (bytes) => {
      if (bytes.byteLength !== len) reject(new Error(`a message has ${bytes.byteLength} bytes, not ${len}`));
      if (++received === count) resolve();
    };
  });
  const started = performance.now();
  lane.send(toJson({ job: "source", count, len }));
  await all;
  return perSecond(count, started);
}

/** Messages a second there and back, `inFlight` of them at a time. */
export async function echo(lane, count, len, inFlight) {
  const bytes = message(len);
  let sent = 0;
  let received = 0;
  const all = new Promise((resolve) => {
    lane.receive = () => {
      if (++received === count) resolve();
      else if (sent < count) send();
    };
  });
  const send = () => {
    sent++;
    lane.send(bytes);
  };
  lane.send(toJson({ job: "echo", count, len }));
  const started = performance.now();
  while (sent < Math.min(inFlight, count)) send();
  await all;
  return perSecond(count, started);
}

/** The median of milliseconds there and back, one message at a time. */
export async function roundTrip(lane, count, len) {
  const bytes = message(len);
  lane.send(toJson({ job: "echo", count, len }));
  return medianOf(count, () => {
    const answer = new Promise((resolve) => (lane.receive = resolve));
    lane.send(bytes);
    return answer;
  });
}

export const medianOf = async (count, once) => (await timesOf(count, once))[count >> 1];

/** The slowest hundredth begins here. */
export const p99Of = async (count, once) => (await timesOf(count, once))[Math.floor(count * 0.99)];

/** Milliseconds of each, the quickest first. */
async function timesOf(count, once) {
  const times = [];
  for (let number = 0; number < count; number++) {
    const started = performance.now();
    await once();
    times.push(performance.now() - started);
  }
  return times.sort((a, b) => a - b);
}

export const perSecond = (count, started) => (count / (performance.now() - started)) * 1_000;
