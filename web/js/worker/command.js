/**
 * What a page commands its worker: the number of each entry of a message, and its fields (port.js).
 */

export const HELLO = 0;      // version u8, the name of the lock that the worker is to hold: text
export const ASK = 1;        // number u32, function of the core: text, argument: bytes
export const START = 2;      // options as JSON: text, device key (SubjectPublicKeyInfo): bytes
export const OPEN = 3;       // lane, is it a stream u8, step of priority u8, is it a tail u8, of how many bytes u32, label: text
export const SEND = 4;       // lane, message: bytes
export const WRITE = 5;      // lane, bytes
export const TOOK = 6;       // lane, so many MESSAGEs u32: the application has taken them
export const FINISH = 7;     // lane
export const RESET = 8;      // lane, code u32
export const RELEASE = 9;    // lane
export const DATAGRAM = 10;  // lane, milliseconds u32, key u32 (NO_KEY if none), bytes
export const SEEN = 11;      // lane, so many DATAGRAMs u32: the application has taken them
export const SIGNATURE = 12; // connection u32, bytes
export const WAKE = 14;      // u8: 1 if somebody looks at the page, 0 if not, 2 if it is left and the browser keeps it
export const CLOSE = 15;     // reason: text
export const FREE = 16;
export const SHOW = 13;      // kind u8, evidence of the person: bytes
export const SEND_ALL = 17;  // lane, messages one after the other: bytes, the end of each: ends
export const HELD = 19;      // the name of a lock that the page holds: text
export const DISCARD = 18;   // lane: what has not begun to leave is thrown away
export const FOLLOW = 20;    // a server's newer key: text, has a connection been made for it u8
