/**
 * The package's face. duologue.d.ts is its contract.
 *
 *   link.js       a line's life: states, sessions, requests        channel.js    messages
 *   stream.js     bytes, as ReadableStream and WritableStream      datagrams.js  messages that may be lost
 *   identity.js   device key, pin, ticket                          core.js       the wasm module (platform.js: from where)
 *   kept.js       the same as bytes that the caller keeps, loaded when there is an `identity`
 *   fetch.js      the platform's `fetch`, loaded at its first use
 *   remote.js     the same in a worker (worker.js, port.js), loaded when it is asked for
 *
 * None of it ever sees a frame, a record or the private half of the device key.
 */

import { inviteOf } from "./address.js";
import { ready } from "./core.js";
import { explained, wrap } from "./errors.js";
import { forget, load } from "./identity/identity.js";
import { Link } from "./link.js";
import { keyInfo, placeOf } from "./surroundings.js";

export { Channel } from "./channel.js";
export { Datagrams } from "./datagrams.js";
export { DuologueError } from "./errors.js";
export { BidirectionalStream } from "./stream.js";
export { Link };

async function told(promise) {
  try {
    return await promise;
  } catch (error) {
    throw await explained(error);
  }
}

export function connect(options = {}) {
  return new Link(options);
}

export async function hasIdentity(url, options) {
  const known = await told(load(placeOf(url, options?.account)));
  return Boolean(known?.device && known.enrolled);
}

export async function forgetIdentity(url, options) {
  await told(forget(placeOf(url, options?.account)));
}

export async function parseInvite(link) {
  const invite = inviteOf(link);
  if (invite === undefined) return undefined;
  const core = await told(ready());
  try {
    return await keyInfo(core, core.parseInvite(invite));
  } catch (error) {
    throw wrap(error);
  }
}
