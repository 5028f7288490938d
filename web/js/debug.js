/**
 * What becomes of a line, told to whoever looks for a fault: an application's function, or the console.
 */

/** Tells what happened, and how many milliseconds after `connect`. What an application throws is not the line's. */
export function teller(debug) {
  const tell = typeof debug === "function" ? debug : (note) => console.debug("duologue", note);
  return (at, what, detail, connection, millis) => {
    try {
      tell({ at: Math.round(at), what, detail, connection, millis });
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
}
