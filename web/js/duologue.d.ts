/**
 * One private line between a page and a server: end-to-end encrypted and authenticated inside TLS.
 *
 * ```js
 * import { connect } from "./duologue.js";
 * const link = connect({ invite: location.href });
 * console.log(await link.request("echo", "hello"));   // Uint8Array
 * ```
 *
 * A lost connection is not the end of a line: it is dialled again, and everything goes on where it was, exactly once.
 * Only when the server does not know the session any more is something lost, and then every promise says what.
 */

import type {
  AbortSignal,
  AddEventListenerOptions,
  CustomEvent,
  DisposableEventTarget,
  Event,
  EventListenerOptions,
  EventListenerOrEventListenerObject,
  EventTarget,
  MessagePort,
  ReadableStream,
  RequestInfo,
  RequestInit,
  Response,
  SharedWorker,
  URL,
  Worker,
  WritableStream,
} from "./platform.js";

/**
 * `connecting` until the server has accepted this device for the first time, or for a while
 * `waiting`, where each tab has a line of its own and sixteen have one, which is what a server keeps of a device: it goes on
 * when one of them closes; then
 * `open`, what is sent leaves at once;
 * `resuming`, the connection is lost and dialled again: what is sent waits its turn, and each promise says what became
 * of it;
 * `draining`, the server is about to stop: what is under way is still delivered, and the line is resumed afterwards;
 * `closed`, for good.
 */
export type LinkState = "connecting" | "waiting" | "open" | "resuming" | "draining" | "closed";

/**
 * What can be sent: bytes as they are, a string as UTF-8. JSON has methods of its own. Bytes are read until the promise
 * of their sending settles: do not change them before.
 */
export type Data = Uint8Array | ArrayBuffer | ArrayBufferView | string;

/** Why something failed: stable words. The package's README says of each what to do. `cargo xtask codes` writes this type. */
export type ErrorCode =
  | "altered"
  | "bad-body"
  | "bad-identity"
  | "bad-invite"
  | "bad-key"
  | "bad-label"
  | "bad-redirection"
  | "bad-request"
  | "bad-response"
  | "bad-signature"
  | "blocked-by-policy"
  | "busy"
  | "cancelled"
  | "closed"
  | "deadline"
  | "detached"
  | "device-revoked"
  | "failed"
  | "finished"
  | "going-away"
  | "hook-refused"
  | "host-mismatch"
  | "identity-lost"
  | "insecure-context"
  | "internal"
  | "invite-expired"
  | "invite-unknown"
  | "invite-used"
  | "key-refused"
  | "local-network-denied"
  | "lost"
  | "message-too-long"
  | "no-answer"
  | "no-identity"
  | "no-passkeys"
  | "no-presence"
  | "no-randomness"
  | "no-signature"
  | "no-store"
  | "no-token"
  | "no-url"
  | "no-wasm"
  | "no-websocket"
  | "normal"
  | "not-allowed"
  | "not-enrolled"
  | "not-kept"
  | "not-loaded"
  | "not-supported"
  | "not-taken"
  | "not-your-server"
  | "origin-refused"
  | "other-origin"
  | "pin-changed"
  | "protocol"
  | "redirected"
  | "refused"
  | "replaced"
  | "session-altered"
  | "session-evicted"
  | "session-expired"
  | "session-restarted"
  | "session-subject"
  | "session-unknown"
  | "step-up-needed"
  | "stopped"
  | "store-broken"
  | "store-full"
  | "store-refused"
  | "store-stuck"
  | "subject-changed"
  | "timeout"
  | "unreachable"
  | "upgrade-refused"
  | "wasm-blocked"
  | "worker-lost"
  | "wrong-host"
  | "wrong-kind";

/**
 * Why a server does not take a token: stable words, which the package's README explains. `cargo xtask codes` writes this type.
 */
export type DoorCode =
  /** This device is bound to somebody else. */
  | "device-of-another-subject"
  /** What the app's own backend has answered cannot be read. */
  | "hook-answer"
  /** The app's own backend does not let this caller in; the message says why, in its words. */
  | "hook-refused"
  /** The app's own backend names somebody else than the token does. */
  | "hook-stranger"
  /** The app's own backend, which is asked of every caller, has not answered. */
  | "hook-unreachable"
  /** A first passkey takes a login of the last 5 minutes. */
  | "login-too-old"
  /** Nobody has said whose the session is. */
  | "no-subject"
  /** Its algorithm is not taken here. */
  | "passkey-algorithm"
  /** Its counter has not risen: there may be a copy. */
  | "passkey-copied"
  /** It is registered already. */
  | "passkey-known"
  /** The challenge is of another session, was used, or is too old. */
  | "passkey-late"
  /** The account has no passkey. */
  | "passkey-none"
  /** What the passkey has signed is not what was asked for. */
  | "passkey-refused"
  /** The account has 8 passkeys, or has registered 16 in a day. */
  | "passkey-too-many"
  /** The account has no such passkey. */
  | "passkey-unknown"
  /** The authenticator has not verified who uses it. */
  | "passkey-unverified"
  /** The person has signed out, here or in another session of this device. */
  | "signed-out"
  /** A login over the line was good until now. */
  | "standing-expired"
  /** It takes a person who has just shown to be there, by a passkey. */
  | "step-up-needed"
  /** It is signed by another algorithm than its key is for. */
  | "token-algorithm"
  /** Its signature is not of that key over this token. */
  | "token-altered"
  /** It is for somebody else. */
  | "token-audience"
  /** A claim that the server needs is missing, or not what it should be. */
  | "token-claims"
  /** Its time is over, or it is older than the server's `max_age`. */
  | "token-expired"
  /** Another issuer has made it. */
  | "token-issuer"
  /** The issuer has no key of its `kid`. */
  | "token-key"
  /** The server could not get the issuer's keys. */
  | "token-keys-unreachable"
  /** It is no login: a logout token, a DPoP proof, one that needs an extension (`crit`). */
  | "token-kind"
  /** It is no signed JSON Web Token of at most 8,184 bytes. */
  | "token-malformed"
  /** This server takes no tokens. */
  | "token-not-taken"
  /** Its time has not come. */
  | "token-not-yet"
  /** It is bound to another device's key. */
  | "token-of-another-device"
  /** The server's owner has revoked it, its subject or one of its groups. */
  | "token-revoked";

/** Every error of this package. `message` is a sentence for a person: what went wrong and what to do. */
export class DuologueError extends Error {
  /** A {@link DoorCode} where the server's door says no: of `stepUp` and `passkeys`. */
  readonly code: ErrorCode | DoorCode;
  /**
   * For what was being sent: `not sent` if it never left, `unknown` if it left, in whole or in part, and its channel or
   * session ended before it was known to be taken. Absent elsewhere.
   */
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

/** Why the server had to begin a new session. */
export interface FreshInfo {
  /**
   * The connection was gone for too long; or the server does not know the session, needed its memory, or was restarted; or
   * messages were altered on their way to it again and again; or somebody else has signed in, and then nothing of the old
   * session is carried over.
   */
  readonly code:
    | "session-expired"
    | "session-unknown"
    | "session-evicted"
    | "session-restarted"
    | "session-altered"
    | "session-subject"
    /** The page before this one had more than can be kept across a reload (4 MiB). Its messages that were not taken are lost. */
    | "not-kept";
  /** A sentence for a person. */
  readonly reason: string;
}

/**
 * Bytes that the caller keeps, instead of IndexedDB: a file (`fileIdentity` of `duologue/node`), a database, a platform's
 * keychain. They hold the private key of the device and what is known of each server: whoever has them is this device.
 */
export interface IdentityStore {
  /** What was stored last, undefined if nothing was. Anything else closes the link with `bad-identity`. */
  load(): Promise<Uint8Array | undefined>;
  /** Replaces it, in whole or not at all. Called once before a device's first line, and at most once for each connection. */
  store(bytes: Uint8Array): Promise<void>;
}

/** The class of the sockets, as browsers have it; the package `ws` for Node.js before 22. */
export type WebSocketClass = new (url: string, protocols: string[]) => object;

/** A service that answers JSON with JSON: see `Link.requestJson`. */
export interface RequestType {
  request: unknown;
  response: unknown;
}

/** A service of JSON messages: what the page sends, and what it receives. */
export interface ChannelType {
  send: unknown;
  receive: unknown;
}

/**
 * What the services of a server speak, by label; for `connect<Protocol>()`. It is checked by the compiler alone: what
 * arrives is as the server sends it.
 *
 * ```ts
 * interface Protocol {
 *   add: { request: { a: number; b: number }; response: number };
 *   chat: { send: { text: string }; receive: { from: string; text: string } };
 * }
 * const link = connect<Protocol>();
 * const sum = await link.requestJson("add", { a: 40, b: 2 });        // number
 * ```
 */
export type ProtocolOf<P> = { [L in keyof P]: RequestType | ChannelType };
/** The protocol of a link that was not told one: any label, any JSON. */
export type Loose = { [label: string]: RequestType & ChannelType };
/** The labels of services that answer. */
export type RequestLabel<P> = { [L in keyof P]: P[L] extends RequestType ? L : never }[keyof P] & string;
export type RequestOf<P, L extends keyof P> = P[L] extends RequestType ? P[L]["request"] : never;
export type ResponseOf<P, L extends keyof P> = P[L] extends RequestType ? P[L]["response"] : never;
/** What is sent and received on a channel of that label. A request may be sent on a channel of one's own too. */
export type Sends<P, L extends keyof P> = P[L] extends ChannelType ? P[L]["send"] : RequestOf<P, L>;
export type Receives<P, L extends keyof P> = P[L] extends ChannelType ? P[L]["receive"] : ResponseOf<P, L>;

export interface ConnectOptions {
  /** The server's line. Default: `wss://<this page's host>/line`; where there is no page, it must be given (`no-url`). */
  url?: string | URL;
  /**
   * An invite link (or its `#i=…` fragment), needed once. A text without one is ignored; a damaged one closes the link
   * with `bad-invite`. It may stand among other things in the fragment: `#tab=2&i=…`.
   */
  invite?: string | URL;
  /**
   * An invite that is in the page's own address, as in `invite: location.href`, is taken out of the address bar and of its
   * entry in the history at once; the rest of the fragment stays. Default: true.
   */
  clearInvite?: boolean;
  /**
   * The server's public key, base64url, where the page's build knows it. Default: the stored pin, else the invite's. With it a browser
   * that nobody has let in may come without an invite, as a guest (level 0), where the server's policy opens something to guests; else
   * the line ends with `not-enrolled`.
   * One that was the server's before is as good, where this browser knows the owner who has signed the one of now.
   */
  serverKey?: string;
  /** True only after the person has agreed to it: the invite's key replaces another one that was pinned before. */
  replacePin?: boolean;
  /** What the server's owner sees in `duologue devices list`. At most 64 bytes. Default: a name for this browser. */
  deviceName?: string;
  /**
   * Whose line this is, as the application calls them, such as the id of whoever has signed in: each name has a device key of its
   * own, and a tab joins a shared line only with the same name. A new one needs an invite, as a new device does. Default: none,
   * which is apart from all of them.
   */
  account?: string;
  /**
   * Who uses this device: a token of an issuer whom the server's owner trusts (a JWT of at most 8,184 bytes, such as an ID token), or
   * a function that gives one. It travels under the seal, with each connection; what the server makes of it is in `standing`. A
   * device that nobody has let in may come by it alone, where `serverKey` is given.
   *
   * The function is asked before the first connection, which waits for it, and again near the end of what the last token has raised
   * (60 s before, or half of its time), or when the server wants another; once for each, and once more with another connection. It is
   * given this device, whose `nonce` or `proof` binds a token to it. `undefined` says that nobody has signed in. Its failure is told
   * (`tokenerror`, `no-token`), and the line goes on without. Of tabs that share a line, the one that was looked at last is asked.
   *
   * A session is of one person: a token of somebody else ends it, on the open line with `subject-changed`, with a new connection as
   * `fresh` (`session-subject`), and nothing of it is carried over. Default: no token.
   */
  token?: string | ((device: DeviceInfo) => string | null | undefined | Promise<string | null | undefined>);
  /** Where the device key is kept. Default: this browser's IndexedDB; where there is none, it must be given (`no-store`). */
  identity?: IdentityStore;
  /**
   * Default: the global one, or `WebSocketStream` where there is one and `lasting` asks for a socket that outlives a frozen page;
   * where there is none, it must be given (`no-websocket`). A worker uses its own.
   */
  WebSocket?: WebSocketClass;
  /**
   * `"wait"`: a first connection that cannot be made is waited for as a lost one is; the link dials until the server lets this
   * device in or refuses it, or until it is closed. `nextAttemptAt` tells when. Default: the link closes with the cause.
   */
  firstTry?: "wait";
  /** Closes the link when it aborts. */
  signal?: AbortSignal;
  /**
   * Puts socket, cryptography and timers of the line into a worker; everything else is the same. Default: false, on the
   * page's own thread.
   *
   * - `true` starts a worker, from `worker.js` beside this module, for this link alone: it ends with the link.
   * - `"shared"` is for pages of which a person may open several: all tabs of this origin have one line, hence one socket,
   *   to a server. None of them leads, so that closing one costs the others nothing; the line ends with the last, or where
   *   workers can outlive their pages (Chromium), a while after it: see `grace`.
   * - A `URL` is that of a module script of your own which imports `worker.js`: as `"shared"`.
   * - A module `Worker` of that script serves any number of links, and so does a `MessagePort` (one for each link) whose other
   *   end was posted to such a worker, `worker.postMessage(undefined, [port])`; both live on. A module `SharedWorker` of that
   *   script is as `"shared"`.
   *
   * Tabs of one line share its 256 channels. `close()`, or leaving the page, ends what that tab has opened: the server sees
   * a cancellation, and messages that were not sent are `not sent`. What the server opens is for the tab that was looked at
   * last. `invite`, `deviceName` and `WebSocket` are those of the tab that came first.
   *
   * A worker that cannot be had does not end the link: where the browser has none, the page's policy or storage permits none,
   * its script does not load or fails, or no socket opens in it although the server answers the page (browsers do not let
   * shared workers use a certificate that their person has accepted), the line goes on in a worker of this page, and then on
   * the page's own thread. What was given to it before moves along; nothing of it had left. `Link.context` tells where. The
   * page's next load begins anew. Where tabs come to have a line each by that, or by `lasting`, the 17th waits (`waiting`).
   *
   * The device key stays in the page. The page's policy should permit `worker-src 'self'`.
   *
   * Beside the page's queues, up to 1 MiB of a channel's messages and 1 MiB of a stream are on their way to the worker,
   * and 128 KiB and one message on their way back; nothing is taken before it is read. A channel that is cancelled here
   * tells what was on its way to the worker as `unknown`. A worker that fails or is ended when its line was open closes the
   * link with `worker-lost`; what was sent and not taken is then `unknown`.
   */
  worker?: boolean | "shared" | URL | Worker | SharedWorker | MessagePort;
  /**
   * The session is to outlive a reload, rather than to be one for all tabs: where shared workers end with their last page
   * (Firefox, Safari), the line is not in the `worker` asked for but on the page's own thread, of each tab its own. The page that
   * is loaded next in the tab goes on with the session: what was pending and what was not read are there, see `kept`. Default:
   * false, and a reload of the only tab begins a new session there. Without a `worker`, a page that was frozen or kept for
   * the way back goes on over the same socket where there are `WebSocketStream`s (Chromium); that costs a lone echo some 15 % of its
   * time, and uploads on a fast network a fifth of theirs.
   */
  lasting?: boolean;
  /**
   * For how many milliseconds a shared line waits for another page when the last one has been left, where workers can outlive
   * their pages (Chromium; elsewhere it ends with the last). A page that is loaded again then finds it open: the same session, over
   * the same socket. Whoever comes next may be somebody else: what was proved of the person counts no more, cookies of `fetch` among
   * it, and has to be shown again, as `token` does by itself, right behind `ready`. Meanwhile the server opens nothing (`not-here`), nobody is dialled, and
   * what arrives is not taken. `close()`, `forgetIdentity` and a page of another build end it at once. Default: 20,000; at most
   * 300,000; 0: not at all. A worker that an app makes itself (`SharedWorker`) has none.
   */
  grace?: number;
  /** Is told what becomes of the line, step by step, in a worker too; `true` writes it to the console. Default: false. */
  debug?: boolean | ((note: DebugNote) => void);
  /**
   * Sees every sealed message just as it crosses the network: for showing, never for using. The bytes are good only during
   * the call: copy what is to be kept. `length` is that of the whole message.
   */
  observe?: (direction: "out" | "in", bytes: Uint8Array, length: number) => void;
  /** How many bytes of each message `observe` is shown, from its start. Default: all. In a worker the others stay there. */
  observeBytes?: number;
}

export interface RequestOptions {
  /** Cancels the request at the server too; the request rejects with the signal's reason. */
  signal?: AbortSignal;
  /**
   * Milliseconds after which the request is cancelled, with the error code `deadline`; time without a connection counts.
   * Any number from 0 on, `Infinity` too; anything else rejects with a `RangeError`. Default: none.
   */
  timeout?: number;
}

/** A public key and the short form that two people can compare: 8 groups of 4 hexadecimal digits. */
export interface KeyInfo {
  readonly key: string;
  readonly fingerprint: string;
}

/** What a proof of the device's key is for: one HTTP request (RFC 9449, section 4.2). */
export interface ProofOf {
  /** Its method. */
  htm: string;
  /** Its address; what is behind `?` or `#` is left out of the proof. */
  htu: string | URL;
  /** The nonce that the issuer or the resource has asked for. */
  nonce?: string;
  /** With an access token: base64url of its SHA-256. */
  ath?: string;
}

/** This device: its public key's hash, and what binds tokens to it, so that they are worth nothing on another device. */
export interface DeviceInfo extends KeyInfo {
  readonly algorithm: "Ed25519" | "P-256";
  /** For the `nonce` of a login, which every OpenID provider repeats in the ID token. */
  readonly nonce: string;
  /** The thumbprint of the key (RFC 7638), which tokens that are bound by DPoP have in `cnf.jkt`. */
  readonly jkt: string;
  /** A DPoP proof (RFC 9449) by the key, for one request to an issuer that binds tokens to keys. */
  proof(of: ProofOf): Promise<string>;
}

/** What the server says of who uses this device, as it said last. */
export interface Standing {
  /**
   * 0: a guest; 1: a device that was let in; 2: somebody whom the owner's accounts name; 3: somebody who has just shown to be there.
   */
  readonly level: 0 | 1 | 2 | 3;
  /** Who it is, as the server's owner names them. */
  readonly subject: string | undefined;
  /** When it falls to what the device has without; undefined if it does not by itself. */
  readonly until: Date | undefined;
  /** Why the newest token has raised nothing, or gives nothing any more. */
  readonly refused: DoorCode | undefined;
}

/** A passkey of the person whose the session is. */
export interface PasskeyInfo {
  /** By which it is removed. */
  readonly id: string;
  /** What its person calls it; by default the device on which it was registered. */
  readonly name: string;
  /** When it was registered. */
  readonly made: Date;
  /** When it was last used; undefined if it was not. */
  readonly used: Date | undefined;
  /** Whether its person has it on other devices too, by whoever makes the authenticator. */
  readonly backedUp: boolean;
  /** Registered on this device. */
  readonly here: boolean;
}

/** What somebody between the two ends has rewritten. See {@link Link.path}. */
export type PathDifference = "host" | "origin" | "form" | "headers" | "tls-version";

/** One connection, as both ends have it outside the seal. */
export interface PathReport {
  readonly known: {
    /** The host that was opened, with its port unless that is the default one. */
    readonly host: string;
    /** The page's origin; empty where there is no page. */
    readonly origin: string;
    /** How the line's first message left; undefined in a tab that has joined a line. */
    readonly form: "m1-in-request" | "m1-as-message" | undefined;
    /** Whether the connection began with TLS, of whose version and certificate a page learns nothing. */
    readonly tls: "some" | "none";
  };
  readonly seen: {
    readonly host: string | undefined;
    readonly origin: string | undefined;
    /** This device's address as the server sees it, where it is known, and by whose word. */
    readonly address: string | undefined;
    readonly addressFrom: string | undefined;
    readonly form: string | undefined;
    /** Names of fields that no client sends with an upgrade. Text of strangers. */
    readonly headers: readonly string[];
    /** TLS of the server's own listener: "none" where it ends before it. */
    readonly tls: string | undefined;
    /** SHA-256 of the `SubjectPublicKeyInfo` of the server's own certificate, as base64url. */
    readonly certificate: string | undefined;
    /** A proxy that the server's owner has put there has brought the connection. */
    readonly ownProxy: boolean;
  };
  /** Empty where nothing was rewritten, as far as both can know. */
  readonly differs: readonly PathDifference[];
}

/**
 * The passkeys of the person whose the session is, kept by the server. Each of these rejects with a {@link DoorCode}, such as
 * `no-subject` or `step-up-needed`; with `refused` or `not-allowed` where the server takes no passkeys; or as `Link.request`.
 */
export interface Passkeys {
  /**
   * Makes one, which the browser asks its person for: call it from a click. The first takes a login of the last 5 minutes
   * (`login-too-old`), each further one a person who has shown to be there in the last 5 minutes (`step-up-needed`). It raises nothing:
   * `stepUp` does. The person's other devices hear of it (`passkey`). Otherwise as `Link.stepUp`.
   */
  register(options?: PasskeyOptions): Promise<PasskeyInfo>;
  /** All of them, the oldest first. */
  list(): Promise<readonly PasskeyInfo[]>;
  /** Removes one for good. It takes a person who has shown to be there in the last 5 minutes; whoever is present by it is so no more. */
  remove(id: string): Promise<PasskeyInfo>;
}

export interface StepUpOptions {
  /** Gives up waiting for the person; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface PasskeyOptions extends StepUpOptions {
  /** What its person will know it by, at most 64 bytes. Default: the name of this device. */
  name?: string;
}

/** Why there is no token, or it is not taken. The line goes on without. */
export interface TokenInfo {
  /** `no-token`: the function that gives them has failed. */
  readonly code: DoorCode | "no-token";
  /** A sentence for a person: what has happened, and what to do. */
  readonly reason: string;
}

/**
 * Opens a line. Returns at once; `ready` tells when it is open, and what is sent before that waits in order.
 *
 * A page that is left (`pagehide`) closes its line, so that the server keeps no session for nobody; a shared one may wait a while
 * for the next page (`grace`).
 */
export function connect<P extends ProtocolOf<P> = Loose>(options?: ConnectOptions): Link<P>;

export interface ChannelOptions {
  /**
   * `"independent"`: each message stands alone. When the server begins a new session, the channel goes on in it, with the
   * messages that had not left, in their order; those that had left and were not taken reject with `unknown` first. Default:
   * the channel ends with its session, unless nothing of it had left.
   */
  resend?: "independent";
  /**
   * Which channels leave first where several have something to send, in both directions: 0 first (key presses, calls), 1
   * normal, 2 last (files, backups). Those of one step take turns; of the next step comes one turn for each four of the step
   * before. Default: 1.
   */
  priority?: 0 | 1 | 2;
  /**
   * A tail: at each end at most so many bytes wait to leave, the oldest of more are left out, and nobody waits. What a
   * terminal, a log or prices want. The newest message is kept whatever its length. Of a message that was left out `send`
   * rejects with `not-taken` and the delivery `not sent`; nobody need catch it. The other end sees in `missed` how much is
   * missing. 0 to 4,294,967,295. Default: nothing is left out, and whoever sends waits.
   */
  tail?: number;
}

/** How a stream waits beside others, and what it may leave out. */
export type StreamOptions = Pick<ChannelOptions, "priority" | "tail">;

/** What has become of a line: for whoever looks for a fault, not for programs. No secret is in it. */
export interface DebugNote {
  /** Milliseconds since `connect`. */
  readonly at: number;
  /**
   * `context` and `leave`: where the line runs, and why it has gone on elsewhere; `dial`, `upgrade`, `answer`, `open`, `fail`:
   * a connection from its beginning to where it came, with the cause; `state`, `fresh`, `altered`, `end`: of the line.
   */
  readonly what: string;
  /** A word, or a cause and its sentence. */
  readonly detail: string;
  /** Which connection of the line, from 1 on. */
  readonly connection: number | undefined;
  /** Of a failure: milliseconds until the next attempt. */
  readonly millis: number | undefined;
}

/** What the browser is about to ask its person. */
export interface PermissionInfo {
  /** As in `navigator.permissions`: `loopback-network`, `local-network`, or `local-network-access` in older ones. */
  readonly name: string;
  /** A sentence for a person: what it is for. */
  readonly reason: string;
}

export interface LinkEventMap {
  /**
   * The browser will ask whether this page may reach the person's own network, where the line leads: say what it is for. A
   * refusal closes the link with `local-network-denied`.
   */
  permission: CustomEvent<PermissionInfo>;
  /** `state` has changed. */
  statechange: Event;
  /**
   * The line is open again, but the server had to begin a new session. Every channel and stream of the old one that had
   * begun has ended with `detail.code`; open new ones. Those of which nothing had left yet go on by themselves.
   */
  fresh: CustomEvent<FreshInfo>;
  /** `altered` has changed. */
  altered: Event;
  /** The server has told of `standing`: with each connection, and whenever it changes. */
  standing: CustomEvent<Standing>;
  /** There is no token, or the server does not take it; `standing` is what it was without. */
  tokenerror: CustomEvent<TokenInfo>;
  /** Somebody has registered this passkey for this person on another device. If that was somebody else, remove it. */
  passkey: CustomEvent<PasskeyInfo>;
}

/** A channel or stream of the page before this one. */
export interface Kept {
  readonly label: string;
  readonly isStream: boolean;
  /** Messages, or bytes of a stream, that the page before has sent on it: each arrives once, if it has not. */
  readonly sent: number;
  /** The channel, with what has come on it and was not read; the stream, if it is one. Once. */
  claim(): Channel | BidirectionalStream;
}

/**
 * One line to one server, through any number of connections.
 */
export class Link<P extends ProtocolOf<P> = Loose> extends DisposableEventTarget {
  readonly state: LinkState;
  /** Where the line's socket, cryptography and timers are: see `ConnectOptions.worker`. Undefined until that is known. */
  readonly context: "page" | "worker" | "shared" | undefined;
  /** Fulfils when the server has accepted this device for the first time; rejects with the cause if it never does. */
  readonly ready: Promise<void>;
  /** Fulfils when the link has ended, however it did. Never rejects. */
  readonly closed: Promise<CloseInfo>;
  /**
   * The pinned server. Undefined until the stored identity has been read (always known once `ready`). After a close with
   * `pin-changed` it is still the old pin; {@link parseInvite} tells the new one.
   */
  readonly server: KeyInfo | undefined;
  /** This device. Undefined like `server`. */
  readonly device: DeviceInfo | undefined;
  /**
   * The labels that the server answers for this device, or would after `stepUp`, as it said when it let it in. Undefined before that,
   * and if it does not say.
   */
  readonly services: readonly string[] | undefined;
  /**
   * Who uses this device, as the server says: undefined until the line has opened. It rises and falls while the line is open; what it
   * does not allow any more is reset as `not-allowed`.
   */
  readonly standing: Standing | undefined;
  /** The passkeys of the person whose the session is. */
  readonly passkeys: Passkeys;
  /**
   * Somebody on the way has altered what was said: how often, each time at the cost of a connection, and since when. None of it
   * was let through, and nothing of yours was lost by it. Undefined while nothing was noticed. Three times in a row end the
   * line (`altered`).
   */
  readonly altered: { readonly count: number; readonly since: Date } | undefined;
  /** When the line dials again; undefined while it is open, or on its way. */
  readonly nextAttemptAt: Date | undefined;
  /**
   * The smoothed round trip in milliseconds, as acknowledgements tell it, which may take 25 ms; undefined before the first. In
   * a worker it is told at most once a second.
   */
  readonly roundTrip: number | undefined;
  /** Channels that the server opens to this device, in this session and those that follow. Ends with the link. */
  readonly incoming: AsyncIterable<Channel>;
  /** Streams that the server opens to this device. Closes with the link. Once it is cancelled, further ones are refused. */
  readonly incomingBidirectionalStreams: ReadableStream<BidirectionalStream>;
  /**
   * What the page before this one in its tab has left, once the line is `ready`: the session goes on, and its channels wait to be
   * claimed, until the first task has passed in which the line is open. Those that nobody claims send what was pending and are then
   * cancelled. Empty if there is none; where the line lives in a worker (`context`) there is none.
   */
  readonly kept: readonly Kept[];
  /** Opens a channel to the service of that label (1 to 64 bytes). Before the line is open it waits, like what is sent. */
  channel<L extends keyof P & string>(label: L, options?: ChannelOptions): Channel<Sends<P, L>, Receives<P, L>>;
  /**
   * Opens a stream of bytes to the service of that label, before the line is open too: what is written then waits.
   * Fulfils at once when there is a line to wait for. A server without such a service ends the stream with `refused`.
   * Rejects with `bad-label`, or with the link's end.
   */
  createBidirectionalStream(label: keyof P & string, options?: StreamOptions): Promise<BidirectionalStream>;
  /**
   * One message there, one message back; lost connections on the way are not noticed. Rejects with the service's refusal
   * (`refused`, `failed`, …), `no-answer`, `deadline`, the session's end (`session-…`) or the link's; before the service is
   * asked, with a `TypeError` for what cannot be sent, or `message-too-long`.
   */
  request(label: keyof P & string, data: Data, options?: RequestOptions): Promise<Uint8Array>;
  /** `request` with JSON both ways. */
  requestJson<L extends RequestLabel<P>>(
    label: L,
    value: RequestOf<P, L>,
    options?: RequestOptions,
  ): Promise<ResponseOf<P, L>>;
  /**
   * The platform's `fetch`, answered by the server's service `http`, which asks one HTTP backend: methods, headers, bodies
   * and streams both ways (`duplex: "half"`), redirections, `signal`, `clone()` and the rest as there.
   *
   * ```js
   * const response = await link.fetch("/api/items", { method: "POST", body: JSON.stringify(item) });
   * ```
   *
   * Takes paths and the URLs of the line's own origin. A relative URL is resolved against the page's, or where the line
   * leads elsewhere against the line's; a redirection is followed only within that origin.
   *
   * Rejects with a `TypeError` as `fetch` does. Where the line or the server knows why, its `cause` is a
   * {@link DuologueError}: `unreachable`, `timeout`, `bad-response` (the backend), `bad-request`, `bad-body` (what was
   * asked), `refused` (no service `http`), `other-origin`, `redirected`, `bad-redirection`, `not-supported`, `session-…`,
   * or the link's end. An answer that breaks off fails the body's reader likewise; it never looks complete.
   *
   * It works unbound (`const { fetch } = link`), hence as the `fetch` of other libraries, and takes what is of another realm
   * or of a polyfill's class: a Request, a body, a signal. A `File` is read as it is sent, never before. The body of an answer
   * is a stream of bytes where browsers have those: `getReader({ mode: "byob" })`. The first call loads a script, which waits
   * for the network with everything else; what that call is given may be looked at only then.
   *
   * Different from the platform's: cookies are the session's and the server's, which keeps what the backend sets and sends it
   * along, so that no script sees one (`credentials: "omit"` neither sends nor keeps any); no cache (`cache` means nothing but `only-if-cached`, which is refused), no referrer; `mode`, `keepalive`
   * and `priority` mean nothing; `integrity` is refused. Bodies are not decoded: the backend is asked for plain ones. The
   * body of a `Request` object has a length, and can be sent again to where it is redirected, if its end comes within 25 ms
   * and 64 KiB; else it counts as a stream, where browsers let it be one. Give `init.body` for others. A body of 64 KiB and
   * more that nobody reads keeps one of the line's 256 channels: cancel it.
   */
  fetch(input: RequestInfo | URL, init?: RequestInit & { duplex?: "half" }): Promise<Response>;
  /**
   * The person signs out: what was proved of them counts no more, on this link and in all other sessions of this device that are
   * theirs, and what it had opened is reset (`not-allowed`); tickets and the session's cookies go. Tokens are not asked for or shown
   * any more. A device that was here by a token alone is put out (`not-enrolled`). Fulfils when the server has said so, or has ended
   * the line; without a connection, once there is one. Rejects with the link's end. To sign in again, connect again.
   *
   * An issuer that has a session of its own is to be told by the application.
   */
  signOut(): Promise<void>;
  /**
   * Has the server put another key in the place of this device's own. It stays the same device, with all that is its, and the key
   * before is refused from then on: for when that may have been copied, or from time to time. The line goes on, also in other tabs; it
   * is connected anew for it. Fulfils when the new key has opened that connection. Rejects with `key-refused` where the server does not
   * take it, as `request` where it renews no keys or the line ends: the device can be used in any case, and what was begun is gone on
   * with the next time. `link.device` has other names for issuers of tokens then (`nonce`, `jkt`), in other tabs once they are loaded
   * anew: a token that is bound to the key before is refused from the next connection on.
   */
  renewKey(): Promise<void>;
  /**
   * What this end knows of the connection outside the seal, what the server saw of it, and in what the two differ: what somebody on
   * the way rewrites. It proves nothing: whoever ends TLS there may send on all of it unchanged, and reads nothing of the line either
   * way. Rejects as `request`; with `refused` or `not-allowed` where the server tells nothing of it.
   */
  path(): Promise<PathReport>;
  /**
   * The person shows to be there, by a passkey that is registered for them: the session rises to level 3, and stays there until it
   * ends, they sign out, or that passkey is removed. What the server opens to level 3, and how long ago the person may have shown it,
   * its policy says: where a channel or a request is refused `not-allowed`, or `step-up-needed`, this may help. Fulfils with the
   * standing. The browser asks the person: call it from a click.
   *
   * The challenge is the session's: a connection that is lost meanwhile costs nothing. It works from the page's thread, wherever the
   * line is. Rejects with `no-presence` if the person refuses or takes too long, `no-passkeys` where the browser has none,
   * `wrong-host` where the page is not of the server's `rp_id`, the signal's reason, a {@link DoorCode}; `refused` or `not-allowed`
   * where the server takes no passkeys; or as `request`.
   */
  stepUp(options?: StepUpOptions): Promise<Standing>;
  /** Ends the link. What was not sent yet is reported `not sent`. */
  close(reason?: string): void;

  addEventListener<K extends keyof LinkEventMap>(
    type: K,
    listener: (this: Link<P>, event: LinkEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof LinkEventMap>(
    type: K,
    listener: (this: Link<P>, event: LinkEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/**
 * A labelled lane for messages, with its own flow control. Iterate over it for those that arrive: each is taken when it is
 * read, in order, exactly once, and a reader who does not read stops the sender.
 *
 * When the channel ends before its time, what had arrived can still be read, and then the iterator throws the cause.
 */
export class Channel<Send = unknown, Receive = unknown> implements AsyncIterable<Uint8Array> {
  readonly label: string;
  /** How many messages were given to a new session after the old one had ended (`resend: "independent"`). */
  readonly resent: number;
  /**
   * How many messages the other end has left out before the one that was read last, in this session: it has thrown them away
   * (`discard`), or the channel is a tail.
   */
  readonly missed: number;
  /** Messages that may be lost, beside those of the channel. */
  readonly datagrams: Datagrams;
  /**
   * Sends a message of at most 16 MiB. Fulfils when the other application has taken it, however many connections that
   * needs. Rejects with what is known (`delivery`): `not-taken` if the channel ended first, `finished`,
   * `message-too-long`, `detached` if its buffer was given away meanwhile, `session-…` if the session ended, or the link's
   * end; with a `TypeError` for what cannot be sent. None of these concerns any other message.
   */
  send(data: Data): Promise<void>;
  /**
   * Sends several messages, in their order, as `send` does each, for one promise: fulfils when the last was taken, and rejects as
   * the first that was not. What cannot be sent rejects before any of them is sent. A message costs less than by `send`.
   */
  sendMany(messages: Iterable<Data>): Promise<void>;
  sendJson(value: Send): Promise<void>;
  /**
   * Throws away what was sent here and has not begun to leave, as Ctrl+C does with a terminal's output. Those messages reject
   * with `not-taken` and the delivery `not sent`; the other end hears how many are missing.
   */
  discard(): void;
  /**
   * All messages that have arrived, in their order, as far as 4,096 or 64 KiB: one at least, which it waits for, or none at the
   * channel's end. Rejects as the iterator does, and takes turns with it. A message costs less than by the iterator.
   */
  recvMany(): Promise<Uint8Array[]>;
  /** No more messages from here; the other side's still arrive. */
  finish(): void;
  /** Ends both directions at once; the other side sees a cancellation, this side the error `cancelled`. */
  cancel(): void;
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array>;
  /** The messages as JSON. */
  json(): AsyncIterable<Receive>;
}

export interface DatagramOptions {
  /**
   * Milliseconds after which it is worth nothing: it is dropped if it has not left this page by then. Any number from 0 on,
   * `Infinity` too. Default: 1,000.
   */
  deadline?: number;
  /** Takes the place of a datagram of the same key that has not left yet. Default: replaces none. */
  replace?: string | number;
}

/** Counts of a channel's datagrams since it was opened. */
export interface DatagramStats {
  /** Left this page. */
  readonly sent: number;
  /** Dropped here: their deadline had passed. */
  readonly expired: number;
  /** Dropped here: a newer one of the same key took their place. */
  readonly replaced: number;
  /** Dropped here: the queue was full, and the oldest made room. */
  readonly overflowed: number;
  /** Arrived here. */
  readonly received: number;
  /** Arrived here and dropped: nobody read them in time. */
  readonly unread: number;
}

/**
 * A channel's datagrams: sent at once or not at all, never twice, and neither waiting nor making wait. Iterate over them for
 * those that arrive. The iterator ends with the channel, as the channel's own does.
 */
export class Datagrams implements AsyncIterable<Uint8Array> {
  /**
   * Sends at most 16 KiB, or drops them: `stats` tells. Throws `message-too-long`, and after the end of the channel the
   * cause of that; a `TypeError` for what cannot be sent, a `RangeError` for a deadline that is none.
   */
  send(data: Data, options?: DatagramOptions): void;
  /** The counts as they are now; of a line in a worker, as they were 25 ms ago at most. */
  readonly stats: DatagramStats;
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array>;
}

export interface BidirectionalStreamEventMap {
  /** `taken` has grown. */
  progress: Event;
}

/**
 * Bytes both ways, each way with its own flow control and its own end.
 *
 * When the stream ends before its time, both halves fail with the same {@link DuologueError}: `refused` (no such service),
 * `failed`, `stopped`, `cancelled`, `session-…`, or the link's end. What had arrived can still be read before that.
 *
 * ```js
 * const stream = await link.createBidirectionalStream("drop");
 * stream.addEventListener("progress", () => show(stream.taken));
 * await file.stream().pipeTo(stream.writable);               // fulfils when every byte was taken
 * ```
 */
export class BidirectionalStream extends EventTarget {
  readonly label: string;
  /**
   * What arrives. Nothing is taken before it is read, so that a page that does not read stops the server. `cancel()` ends
   * both directions; the other side sees a cancellation.
   */
  readonly readable: ReadableStream<Uint8Array>;
  /**
   * What is sent. A write settles when its bytes have a place in this page's queue (256 KiB; of a line in a worker 1 MiB more
   * than that), and waits while that is full.
   * `close()` ends this direction and fulfils when the other application has taken every byte. `abort()` ends both
   * directions at once. A rejected write or close has a `delivery`.
   *
   * The `signal` of a `pipeTo` is heard only after the write that waits for room, as the standard of browsers has it; to
   * stop at once, cancel `readable`.
   */
  readonly writable: WritableStream<Data>;
  /** Bytes that the other application has taken, with those of which it was told that they are missing. It never goes back. */
  readonly taken: number;
  /**
   * How many bytes the other end has left out before the chunk that was read last: it has thrown them away (`discard`), or the
   * stream is a tail. No chunk lies on both sides of a gap.
   */
  readonly missed: number;
  /** Throws away what was written here and has not left. The other end hears how many bytes are missing. */
  discard(): void;

  addEventListener<K extends keyof BidirectionalStreamEventMap>(
    type: K,
    listener: (this: BidirectionalStream, event: BidirectionalStreamEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof BidirectionalStreamEventMap>(
    type: K,
    listener: (this: BidirectionalStream, event: BidirectionalStreamEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/**
 * True if this browser holds a device key that the server of `url`, as `connect` takes it (default: this page's), has let in.
 * Servers of one host are told apart by the path above their line. With `account`, of that account of `connect`.
 */
export function hasIdentity(url?: string | URL, options?: { account?: string }): Promise<boolean>;
/**
 * Forgets this browser's device key, pin and ticket for the server of `url`, and of that account only. A line that tabs share closes for
 * all of them; another stays open until it is closed.
 */
export function forgetIdentity(url?: string | URL, options?: { account?: string }): Promise<void>;
/** The invite in a link's fragment, or undefined. Throws a {@link DuologueError} (`bad-invite`) when it is there but broken. */
export function parseInvite(link: string | URL): Promise<KeyInfo | undefined>;
