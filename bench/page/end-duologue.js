/**
 * Duologue, as an application uses it, on the page's thread or in a worker: one link, one channel for the messages, one
 * stream for the bytes.
 */

import { connect } from "/duologue.js";
import { fromJson, message, toJson } from "./lane.js";
import { medianOf, p99Of, perSecond } from "./jobs.js";

export const open = (_, where) => openLink(where, false);

/** The same with the line in a worker. */
export const inWorker = { open: (_, where) => openLink(where, true) };

async function openLink({ host, invite }, worker) {
  const link = connect({ url: `wss://${host}/line`, invite, worker });
  await link.ready;
  const lane = laneOf(link.channel("jobs"));
  const stream = await link.createBidirectionalStream("stream-jobs");
  const [reader, writer] = [stream.readable.getReader(), stream.writable.getWriter()];

  const keys = laneOf(link.channel("jobs", { priority: 0 }));
  const press = async (count, len) => {
    const bytes = message(len);
    keys.send(toJson({ job: "echo", count, len }));
    return p99Of(count, () => {
      const answer = new Promise((resolve) => (keys.receive = resolve));
      keys.send(bytes);
      return answer;
    });
  };

  return {
    lane,
    own: {
      "keys-quiet": (_, count, len) => press(count, len),
      "keys-beside-up": (_, count, len) => flooded(link, "sink", () => press(count, len)),
      "keys-beside-down": (_, count, len) => flooded(link, "source", () => press(count, len)),
      request: (_, count, len) => {
        const bytes = message(len);
        return medianOf(count, () => link.request("echo", bytes));
      },
      "sink-stream": async (_, count, len) => {
        const bytes = message(len);
        const started = performance.now();
        await writer.write(line({ job: "sink", count, len }));
        for (let sent = 0; sent < count; sent++) await writer.write(bytes);
        const { received } = await readLine(reader);
        const rate = perSecond(count, started);
        if (received !== count * len) throw new Error(`${received} of ${count * len} bytes arrived at the server`);
        return rate;
      },
      "source-stream": async (_, count, len) => {
        const started = performance.now();
        await writer.write(line({ job: "source", count, len }));
        let left = count * len;
        while (left > 0) left -= (await reader.read()).value.byteLength;
        const rate = perSecond(count, started);
        if (left < 0) throw new Error(`${-left} bytes too many came`);
        return rate;
      },
    },
  };
}

function laneOf(channel) {
  let last;
  let earlier;
  const lane = {
    send: (bytes) => (last = channel.send(bytes)),
    // The slice before the last one has been taken: one is on its way while the next is made.
    room: async () => {
      const taken = earlier;
      earlier = last;
      await taken;
    },
    receive: undefined,
  };
  const receive = async () => {
    for await (const bytes of channel) lane.receive(bytes);
  };
  receive(); // its failure is an unhandled rejection, which ends the benchmark
  return lane;
}

/** What is there for the whole of a run, beside which keys are pressed: as many bytes as go, one way. */
async function flooded(link, job, work) {
  const stream = await link.createBidirectionalStream("stream-jobs");
  const [reader, writer] = [stream.readable.getReader(), stream.writable.getWriter()];
  const bytes = message(1_024 * 1_024);
  let isOver = false;
  await writer.write(line({ job, count: 1_000_000, len: bytes.length }));
  const flood = async () => {
    while (!isOver) await (job === "sink" ? writer.write(bytes) : reader.read());
  };
  const flooding = flood();
  try {
    await new Promise((resolve) => setTimeout(resolve, 100)); // until it fills what there is to fill
    return await work();
  } finally {
    isOver = true;
    await flooding;
    await reader.cancel();
  }
}

const line = (value) => new Uint8Array([...toJson(value), 0x0a]);

async function readLine(reader) {
  const bytes = [];
  while (bytes.at(-1) !== 0x0a) bytes.push(...(await reader.read()).value);
  return fromJson(new Uint8Array(bytes));
}
