/**
 * The wasm module, fetched once, when it is first needed.
 */

import init, { Line, deviceFingerprint, parseInvite, serverFingerprint } from "./duologue_core.js";
import { DuologueError } from "./errors.js";
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
      const isOld = error instanceof (globalThis.WebAssembly?.CompileError ?? Error);
      const code = isForbidden() ? "wasm-blocked" : isOld ? "no-wasm" : "not-loaded";
      throw new DuologueError(code, error.message);
    },
  );
  return loading;
}

/** Whether the policy of this context lets no module be made, however small. */
function isForbidden() {
  try {
    return globalThis.WebAssembly && !new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  } catch {
    return true;
  }
}
