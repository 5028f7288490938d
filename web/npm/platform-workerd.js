/** The wasm module as workerd gives it: compiled, by an import. It compiles none at run time. */

import module from "./duologue_core_bg.wasm";

export { openSocket } from "./copying.js";

/** Of all that the package is made of. The build writes it here. */
export const BUILD = "";

export const LINE = "/line";

export const source = () => module;

/** There is one module, which has all. */
export const keeping = undefined;
