/**
 * The package's face: the library's, and `await using link = connect()` where the surroundings know that.
 *
 * Here rather than in the library, whose every byte a page of the server loads at its start.
 */

import { Link } from "./library.js";

export * from "./library.js";

if (Symbol.asyncDispose) {
  const value = async function () {
    this.close();
    await this.closed;
  };
  Object.defineProperty(Link.prototype, Symbol.asyncDispose, { value, configurable: true, writable: true });
}
