/**
 * The wasm module, fetched once, when it is first needed.
 */

import { Line, deviceFingerprint, initSync, parseInvite, serverFingerprint } from "./duologue_core.js";
import { source } from "./platform.js";

/** By their names, so that what nobody calls is left out of the bundle. */
export const core = { Line, deviceFingerprint, parseInvite, serverFingerprint };

let loading;

/** What `source` gives: a module, its bytes, an answer that has them, or where they are. Nothing streams: it is checked by its hash
 * as a whole, and small. */
async function load() {
  let module = await source();
  if (module instanceof URL) module = await fetch(module);
  if (module instanceof Response) {
    if (!module.ok) throw new Error(`it is answered with ${module.status}`);
    module = await module.arrayBuffer();
  }
  initSync({ module: module instanceof WebAssembly.Module ? module : await WebAssembly.compile(module) });
  return core;
}

/** Fulfils with `core` when it can be used. A failed fetch may be tried again. */
export function ready() {
  loading ??= load().catch((error) => {
    loading = undefined;
    throw Object.assign(error, { of: "module" }); // why.js knows what that means
  });
  return loading;
}
