/** The wasm module as a file beside the script, which a bundler copies: the line's server is the page's by default. */

/** Of all that the package is made of. The build writes it here. */
export const BUILD = "";

export const LINE = "/line";

export const source = () => new URL("./duologue_core_bg.wasm", import.meta.url);

/** There is one module, which has all. */
export const keeping = undefined;

export const openSocket = (Socket, url, protocols) => new Socket(url, protocols);
