/**
 * The wasm module, fetched once, when it is first needed.
 */

import init, * as core from "./duologue_core.js";

let loading;

/** Fulfils when `core` can be used. A failed fetch may be tried again. */
export function ready() {
  loading ??= init().catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

export { core };
