import type { IdentityStore } from "duologue";
import type { URL } from "./platform.js";

/**
 * Keeps the identity in a file that only its owner can read (mode 0600), replaced in one step at each change. The folder is
 * made if it is not there. One process at a time may use a file, for any number of links.
 *
 * ```js
 * const link = connect({ url: "wss://example.org/line", invite, identity: fileIdentity("state/duologue.json") });
 * ```
 */
export function fileIdentity(path: string | URL): IdentityStore;
