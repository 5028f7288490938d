// Generated from the server's message types: do not edit. The server's tests check it, and say how to renew it.

/**
 * Asks for a sum.
 */
export type Add = {
/**
 * One number.
 */
a: number,
/**
 * The other.
 */
b: number, };

/**
 * What was heard.
 */
export type Heard = { text: string, mood: Mood | null,
/**
 * Milliseconds since 1970.
 */
at: number,
/**
 * The text's bytes: JSON has no shorter form for them.
 */
bytes: Array<number>, };

export type Mood = "calm" | { "loud": { decibels: number, } };

/**
 * What somebody says.
 */
export type Say = { text: string,
/**
 * None if it cannot be told.
 */
mood: Mood | null, };

/** What the server speaks, by label. */
export interface Protocol {
  "add": { request: Add; response: number | null };
  "chat": { send: Say; receive: Heard };
}
