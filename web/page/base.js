/**
 * What the page has from its start. The parts that are loaded later import it from here and nowhere else, so that all of it
 * is one script when the page is built: brotli packs one better than many.
 */

export * from "./cause.js";
export * from "./compared.js";
export * from "./ledger.js";
export * from "./words/say.js";
export * from "./words/text.js";
