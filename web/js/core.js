/**
 * The wasm module, fetched once, when it is first needed. That of a page that leaves its session to the next one has more in it
 * (keeping.js), where the surroundings have two, and where that can be loaded: a policy may name the other only.
 */

import { Line, deviceFingerprint, initSync, parseInvite, serverFingerprint } from "./duologue_core.js";
import { keeping, source } from "./platform.js";

/** By their names, so that what nobody calls is left out of the bundle. */
export const core = { Line, deviceFingerprint, parseInvite, serverFingerprint };

const loading = [];

/** What `source` gives: a module, its bytes, an answer that has them, or where they are. Nothing streams: it is checked by its hash
 * as a whole, and small. */
async function load(from) {
  let module = await from.source();
  if (module instanceof URL) module = await fetch(module);
  if (module instanceof Response) {
    if (!module.ok) throw new Error(`it is answered with ${module.status}`);
    module = await module.arrayBuffer();
  }
  from.initSync({ module: module instanceof WebAssembly.Module ? module : await WebAssembly.compile(module) });
  return from.core;
}

/** Fulfils with a `core` that can be used. A failed fetch may be tried again. */
export function ready(keeps) {
  const which = Number(Boolean(keeps && keeping));
  const loads = which ? () => keeping().then(load).catch(() => ready()) : () => load({ core, initSync, source });
  loading[which] ??= loads().catch((error) => {
    loading[which] = undefined;
    throw Object.assign(error, { of: "module" }); // why.js knows what that means
  });
  return loading[which];
}
