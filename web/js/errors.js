/**
 * What goes wrong, in one shape: a stable word for programs, a sentence for people, and for what was sent whether it left.
 */

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

export const cancelledHere = () => new DuologueError("cancelled", "This end has cancelled.");
