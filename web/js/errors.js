/**
 * What goes wrong, in one shape: a stable word for programs, a sentence for people, and for what was sent whether it left.
 */

import { within } from "./values.js";

/** How long the words of a cause may take to load and to be found. */
const WHY_MILLIS = 8_000;

export class DuologueError extends Error {
  constructor(code, message, delivery) {
    super(message);
    this.name = "DuologueError";
    this.code = code;
    if (delivery) this.delivery = delivery;
  }

  /** @private The same cause, said of something that was being sent. */
  _with(delivery) {
    return new DuologueError(this.code, this.message, delivery);
  }
}

/** Errors of the core carry a code; anything else is a fault of this package or of the browser. */
export function wrap(error) {
  if (error instanceof DuologueError) return error;
  // A DOMException has a code too, but a number.
  const code = typeof error?.code === "string" ? error.code : "internal";
  return new DuologueError(code, error?.message ?? String(error));
}

/** A rare cause as it is to be told: its words are loaded with it. `where` is what is known of the line. */
export async function explained(error, where) {
  const why = import("./why.js").then(({ explain }) => explain(error, where));
  const { code, message } = await within(WHY_MILLIS, why).catch(() => wrap(error));
  return new DuologueError(code, message || code, error.delivery);
}

export const cancelledHere = () => new DuologueError("cancelled", "This end has cancelled.");
