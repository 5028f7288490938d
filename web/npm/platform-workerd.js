/** The wasm module as workerd gives it: compiled, by an import. It compiles none at run time. */

import module from "./duologue_core_bg.wasm";

export { openSocket } from "./copying.js";

export const LINE = "/line";

export const source = () => module;
