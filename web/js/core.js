/**
 * The wasm module, fetched once, when it is first needed.
 */

import init, { Line, deviceFingerprint, parseInvite, serverFingerprint } from "./duologue_core.js";
import { source } from "./platform.js";

/** By their names, so that what nobody calls is left out of the bundle. */
export const core = { Line, deviceFingerprint, parseInvite, serverFingerprint };

let loading;

/** Fulfils with `core` when it can be used. A failed fetch may be tried again. */
export function ready() {
  loading ??= init({ module_or_path: source() }).then(
    () => core,
    (error) => {
      loading = undefined;
      throw Object.assign(error, { of: "module" }); // why.js knows what that means
    },
  );
  return loading;
}
