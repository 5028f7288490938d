/**
 * The wasm module as text within the script, where files beside it are not found or not copied: Node, CommonJS, and bundlers
 * that do not know `new URL("…", import.meta.url)`.
 */

import base64 from "./duologue_core_bg.wasm";

export { openSocket } from "./copying.js";

/** Of all that the package is made of. The build writes it here. */
export const BUILD = "";

export const LINE = "/line";

export const source = () => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

/** There is one module, which has all. */
export const keeping = undefined;
