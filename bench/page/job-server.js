/**
 * The server's side of the jobs, on any lane; and what the two servers on Node have in common.
 */

import { readFileSync } from "node:fs";
import { fromJson, sendAll, toJson } from "./lane.js";

/** Certificate and key, whose files are the arguments. */
export const tls = () => ({ cert: readFileSync(process.argv[2]), key: readFileSync(process.argv[3]) });

/** Tells the benchmark the port, and ends with it. */
export function ready(port) {
  process.stdin.on("end", () => process.exit(0)).resume();
  console.log(`ready ${port}`);
}

export function answer(lane) {
  let job;
  let received = 0;
  lane.receive = (bytes) => {
    if (job === undefined) {
      job = fromJson(bytes);
      received = 0;
      if (job.job !== "source") return;
      const { count, len } = job;
      job = undefined; // the page asks for nothing else before it has everything
      sendAll(lane, count, len);
      return;
    }
    if (bytes.byteLength !== job.len) throw new Error(`a message has ${bytes.byteLength} bytes, not ${job.len}`);
    received++;
    if (job.job === "echo") lane.send(bytes);
    if (received < job.count) return;
    if (job.job === "sink") lane.send(toJson({ received }));
    job = undefined;
  };
}
