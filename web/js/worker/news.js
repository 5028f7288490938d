/**
 * What a worker tells its page: the number of each entry of a message, and its fields (port.js).
 */

export const READY = 0;
export const FAILED = 1;    // code: text, sentence: text. Nothing follows
export const ANSWER = 2;    // number u32, did it fail u8, JSON: text; of a failure { code, message }
export const SIGN = 3;      // connection u32, bytes
export const OPENED = 4;    // ticket: text, services and standing: bytes, as AUTH_OK has them; number and asked as in STANDING
export const STATE = 5;     // word: text
export const FRESH = 6;     // code: text, reason: text. Lanes that have ended are gone; others go on
export const CHANNEL = 7;   // lane, is it a stream u8, label: text
export const ROOM = 8;      // lane, u32: so much of SEND or WRITE has found its place in the core
export const TAKEN = 9;     // lane, f64 as `Line.taken`, u8 as `Line.allTaken`
export const MESSAGE = 10;  // lane, a message or a stream's bytes
export const END = 11;      // lane: no MESSAGE follows, the other end has finished
export const ENDED = 12;    // lane, code: text, message: text, f64: messages up to this ordinal may have left. Nothing follows on it
export const DATAGRAM = 13; // lane, bytes
export const STATS = 14;    // lane, u32 datagrams taken from the page, six f64 as `Line.datagramStats`
export const CLOSED = 15;   // code: text, reason: text, by the peer u8
export const RECORD = 16;   // outward u8, its length u32, its first bytes: bytes
export const UNOPENED = 18; // a socket has ended that never opened
export const MESSAGES = 17; // lane, MESSAGEs one after the other: bytes, the end of each: ends
export const ALTERED = 19;  // u32: how often something was altered on the way
export const NOTE = 20;     // what: text, connection u32, word: text, milliseconds f64: for those who look for a fault
export const ROUND_TRIP = 21; // milliseconds f64
export const STANDING = 22; // standing: bytes, number of what was shown last u32, is this page to be asked for newer u8
export const LEFT_OUT = 23; // lane, f64: the message of that ordinal never leaves, those behind it may
export const MISSED = 24;   // lane, f64 as `Line.missed`, of the MESSAGEs that follow
