/**
 * The wasm module of a line on the page's own thread, which can leave its session to the next page (snapshot.js): the same core, and what
 * seals and revives it. A line in a worker, which most pages have, does without.
 */

import { Line, deviceFingerprint, initSync, parseInvite, serverFingerprint } from "./duologue_snapshots.js";

/** As platform.js has that of the other module. */
const INTEGRITY = "";

const core = { Line, deviceFingerprint, parseInvite, serverFingerprint };

const source = () => {
  const url = new URL("./duologue_snapshots_bg.wasm", import.meta.url);
  return INTEGRITY ? fetch(url, { integrity: INTEGRITY }) : url;
};

export const keeping = { core, initSync, source };
