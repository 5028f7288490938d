/**
 * One private line between a page and a server: end-to-end encrypted and authenticated inside TLS.
 *
 * ```js
 * import { connect } from "./duologue.js";
 * const link = connect({ invite: location.href });
 * console.log(await link.request("echo", "hello"));   // Uint8Array
 * ```
 */

/** `connecting` until the server has accepted this device; `open` from then on; `closed` for good. */
export type LinkState = "connecting" | "open" | "resuming" | "draining" | "closed";

/** What can be sent: bytes as they are, a string as UTF-8. JSON has methods of its own. */
export type Data = Uint8Array | ArrayBuffer | string;

/** Why something failed; stable, lower-case words such as `invite-used`. `docs/PROTOCOL.md` lists them. */
export type ErrorCode = string;

/** Every error of this package. `message` is a sentence for a person: what went wrong and what to do. */
export class DuologueError extends Error {
  readonly code: ErrorCode;
  /** For `send`: what is known of the message. Absent elsewhere. */
  readonly delivery?: "not sent" | "unknown";
}

/** How a link ended. */
export interface CloseInfo {
  /** `normal` when either end closed on purpose, else the cause. */
  readonly code: ErrorCode;
  /** A sentence for a person. */
  readonly reason: string;
  /** True when the other end said so, false when this end found out or decided. */
  readonly byPeer: boolean;
}

export interface ConnectOptions {
  /** The server's line. Default: `wss://<this page's host>/line`. */
  url?: string | URL;
  /**
   * An invite link (or its `#i=…` fragment), needed once. A text without one is ignored; a damaged one closes the link
   * with `bad-invite`.
   */
  invite?: string | URL;
  /** The server's public key, base64url, where the page's build knows it. Default: the stored pin, else the invite's. */
  serverKey?: string;
  /** True only after the person has agreed to it: the invite's key replaces another one that was pinned before. */
  replacePin?: boolean;
  /** What the server's owner sees in `duologue devices list`. At most 64 bytes. Default: a name for this browser. */
  deviceName?: string;
  /** Closes the link when it aborts. */
  signal?: AbortSignal;
  /** Sees a copy of every sealed message just as it crosses the network: for showing, never for using. */
  observe?: (direction: "out" | "in", bytes: Uint8Array) => void;
}

export interface RequestOptions {
  /** Cancels the request at the server too. */
  signal?: AbortSignal;
  /** Milliseconds after which the request is cancelled, with the error code `deadline`. Default: none. */
  timeout?: number;
}

/** A public key and the short form that two people can compare: 8 groups of 4 hexadecimal digits. */
export interface KeyInfo {
  readonly key: string;
  readonly fingerprint: string;
}

/** Opens a line. Returns at once; `ready` tells when it is open, and what is sent before that waits in order. */
export function connect(options?: ConnectOptions): Link;

/**
 * One line to one server. Events: `statechange` (read `state`).
 */
export class Link extends EventTarget {
  readonly state: LinkState;
  /** Fulfils when the server has accepted this device; rejects with the cause. */
  readonly ready: Promise<void>;
  /** Fulfils when the link has ended, however it did. Never rejects. */
  readonly closed: Promise<CloseInfo>;
  /**
   * The pinned server. Undefined until the stored identity has been read (always known once `ready`). After a close with
   * `pin-changed` it is still the old pin; {@link parseInvite} tells the new one.
   */
  readonly server: KeyInfo | undefined;
  /** This device. Undefined like `server`. */
  readonly device: (KeyInfo & { readonly algorithm: "Ed25519" | "P-256" }) | undefined;
  /** Channels that the server opens to this device. */
  readonly incoming: AsyncIterable<Channel>;
  /** Opens a channel to the service of that label. */
  channel(label: string): Channel;
  /** One message there, one message back. */
  request(label: string, data: Data, options?: RequestOptions): Promise<Uint8Array>;
  /** `request` with JSON both ways. */
  requestJson(label: string, value: unknown, options?: RequestOptions): Promise<unknown>;
  /** Ends the link. What was not sent yet is reported `not sent`. */
  close(reason?: string): void;
}

/** A labelled lane with its own flow control. Iterate over it for the messages that arrive. */
export class Channel implements AsyncIterable<Uint8Array> {
  readonly label: string;
  /** Fulfils when the other application has taken the message; rejects with what is known (`delivery`). */
  send(data: Data): Promise<void>;
  sendJson(value: unknown): Promise<void>;
  /** No more messages from here; the other side's still arrive. */
  finish(): void;
  /** Ends both directions at once; the other side sees a cancellation. */
  cancel(): void;
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array>;
  /** The messages as JSON. */
  json(): AsyncIterable<unknown>;
}

/** True if this browser holds a device key for the server of `url` (default: this page's). */
export function hasIdentity(url?: string | URL): Promise<boolean>;
/** Forgets this browser's device key, pin and ticket for the server of `url`. An open link stays open until it is closed. */
export function forgetIdentity(url?: string | URL): Promise<void>;
/** The invite in a link's fragment, or undefined. Throws a {@link DuologueError} (`bad-invite`) when it is there but broken. */
export function parseInvite(link: string | URL): Promise<KeyInfo | undefined>;
