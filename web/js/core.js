/**
 * The wasm module, fetched once, when it is first needed.
 */

import init, * as core from "./duologue_core.js";
import { source } from "./platform.js";

let loading;

/** Fulfils with `core` when it can be used. A failed fetch may be tried again. */
export function ready() {
  loading ??= init({ module_or_path: source() }).then(
    () => core,
    (error) => {
      loading = undefined;
      throw error;
    },
  );
  return loading;
}

export { core };
