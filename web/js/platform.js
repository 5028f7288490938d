/**
 * What differs between surroundings: in the npm package other files take this one's place, see `web/npm/`.
 */

/** The hash of the wasm module, `sha384-…`, with which it is fetched. The build of the page writes it here, nobody else. */
const INTEGRITY = "";

/** Of all scripts and the module, in the names of shared workers. The builds write it here. */
export const BUILD = "";

/** Where a line is unless `connect` is told: beside this script, which the line's own server delivers. */
export const LINE = new URL("line", import.meta.url).href;

/** Where the wasm module comes from: a file beside this script. */
export const source = () => {
  const url = new URL("./duologue_core_bg.wasm", import.meta.url);
  return INTEGRITY ? fetch(url, { integrity: INTEGRITY }) : url;
};

/** The other module. */
export const keeping = async () => (await import("./keeping.js")).keeping;

export const openSocket = (Socket, url, protocols) => new Socket(url, protocols);
