/**
 * What differs between surroundings: in the npm package other files take this one's place, see `web/npm/`.
 */

/** Where the wasm module comes from: a file beside this script. */
export const source = () => new URL("./duologue_core_bg.wasm", import.meta.url);

export const openSocket = (Socket, url, protocols) => new Socket(url, protocols);
