import type {
  BidirectionalStream,
  Channel,
  ConnectOptions,
  Data,
  DoorCode,
  ErrorCode,
  FreshInfo,
  IdentityStore,
  WebSocketClass,
} from "duologue";
import type { FetchRequest, Response } from "./platform.js";

/** Who has opened a channel or a stream. */
export interface Call {
  readonly label: string;
  /** The device's id, as the server's owner sees it. */
  readonly device: string;
  /** What the device calls itself (`deviceName`). */
  readonly name: string;
  /** To open channels and streams to it. */
  readonly session: Session;
}

/** What answers behind a label: made by {@link answer}, {@link answerJson}, {@link stream}, {@link http}; or a function of the channel. */
export type Service = ServiceOf | ((channel: Channel, call: Call) => void | Promise<void>);
declare class ServiceOf {
  private constructor();
  readonly kind: "channel" | "stream";
  readonly level: number;
}

/** One answer for each message, for `link.request`. */
export function answer(respond: (message: Uint8Array, call: Call) => Data | Promise<Data>): Service;
/** The same with JSON both ways, for `link.requestJson`. */
export function answerJson<Request = any>(respond: (request: Request, call: Call) => unknown): Service;
/** A stream, for `link.createBidirectionalStream`. When the function is done, so is the stream. */
export function stream(serve: (stream: BidirectionalStream, call: Call) => void | Promise<void>): Service;
/** A service for sessions of at least this level: others are refused `not-allowed`, and so is what is open when a session falls. */
export function atLevel(level: 0 | 1 | 2 | 3, service: Service): Service;
/** A backend, for `link.fetch`: to be served under the label `http`. */
export function http(respond: (request: FetchRequest, call: Call) => Response | Promise<Response>): Service;

/** An identity that is kept in memory, for `connect({ identity })`. */
export function memoryIdentity(): IdentityStore;

export interface ServerOptions {
  /** By label. A label that is not here is refused, as a real server does. */
  services?: { [label: string]: Service };
  /** As `TestServer.delay`. Default: 0. */
  delay?: number;
  /**
   * What a token is worth that a client shows (`connect({ token })`): who its person is, or a word why it is not taken. A device
   * that has no invite may come by it alone. What the function throws is in `failures`, and the token `token-malformed`. Default:
   * none is taken (`token-not-taken`).
   */
  token?: (token: string, device: TokenDevice) => Worth | DoorCode | Promise<Worth | DoorCode>;
  /**
   * Takes passkeys, by a real server's rules: one waits for whoever is named and has an {@link authenticator}; who is vouched for, or
   * has brought a token, has just logged in. Signatures are not looked at. Default: false.
   */
  passkeys?: boolean;
}

/** What one line of a device has at the server. */
export interface Session {
  readonly device: string;
  readonly name: string;
  /** `resuming` while its connection is cut. */
  readonly state: "open" | "resuming" | "closed";
  /** Who uses the device, as it is now. */
  readonly standing: { readonly level: number; readonly subject: string | undefined };
  /** Names whose the session is, as the owner's backend does for a login of the app's own. */
  vouch(worth: Worth): void;
  /** Ends what was proved, as the owner's backend does. */
  signOut(): void;
  /** Fulfils when it has ended, with the cause. */
  readonly closed: Promise<{ readonly code: ErrorCode; readonly reason: string }>;
  /** Opens a channel to the client, which finds it in `link.incoming`. */
  channel(label: string): Channel;
  /** Opens a stream to the client, which finds it in `link.incomingBidirectionalStreams`. */
  createBidirectionalStream(label: string): Promise<BidirectionalStream>;
  /** Ends it on purpose: the client's line closes with `normal`. */
  close(reason?: string): void;
  /** Removes its device for good: its lines close with `device-revoked`, and so does whoever comes with its key. */
  revoke(): void;
}

/** Who somebody is, by a token or by the owner's backend. */
export interface Worth {
  /** Whose the session is from now on. It has one subject at most: another one ends it, as a real server does. */
  subject: string;
  /** Default: 2. */
  level?: 0 | 1 | 2;
  /** Seconds for which it holds; then the session falls to what its device has without. Default: as long as it lives. */
  secs?: number;
}

/** The device that brings a token: what a token has that is bound to it, and its public key's hash, as in `link.device`. */
export interface TokenDevice {
  readonly key: string;
  readonly nonce: string;
  readonly jkt: string;
}

/** A server in memory. Nothing of it reaches a network or a disk. */
export interface TestServer {
  /** For `connect({ url })`; it names no host that is. */
  readonly url: string;
  /** For `connect({ WebSocket })`: its sockets lead here. */
  readonly WebSocket: WebSocketClass;
  /** The sessions that are there, the newest last. */
  readonly sessions: readonly Session[];
  /** What services have thrown, and under which label; the client hears `failed`. */
  readonly failures: readonly { readonly label: string; readonly error: unknown }[];
  /** Adds a service, or puts another in its place. */
  serve(label: string, service: Service): void;
  /** A link with a new invite, good for one device. */
  invite(): string;
  /** All that `connect` needs: address, a new invite, an identity in memory, the class of sockets; and what is given. */
  options(more?: ConnectOptions): ConnectOptions;
  /** The newest session, once there is one. */
  session(): Promise<Session>;
  /** Cuts every connection, with all that is on its way: lines are `resuming`, and come back by themselves. */
  cut(): void;
  /** Milliseconds that each message is on its way from now on, in each direction. */
  delay(millis: number): void;
  /**
   * From now on nobody is let in: sockets do not open (`unreachable`), or whoever comes is told this code. Without one, all are
   * let in again. Lines that are open stay so until they are cut.
   */
  refuse(code?: ErrorCode): void;
  /** Refuses whatever is asked about passkeys by this word, until it is called without one. */
  refusePasskeys(code?: DoorCode): void;
  /** Starts the server again: it knows its devices, and no session. Lines come back `fresh`, with `session-restarted`. */
  restart(): void;
  /** Ends all sessions for another reason, which their lines hear when they come back. */
  forget(code: FreshInfo["code"]): void;
  /** Cuts everything and lets nobody in any more. */
  close(): void;
}

/** An authenticator of the test's, in the place of `navigator.credentials`. */
export interface Authenticator {
  /** Whether its person refuses; the link rejects with `no-presence`. Default: false. */
  refuses: boolean;
  /** How often its person was asked. */
  readonly asked: number;
  /** Puts back what was there before. */
  remove(): void;
}

/** Puts an authenticator into the place of `navigator.credentials`, with no passkey on it, until it is removed. */
export function authenticator(): Authenticator;

/** Starts a server in memory. The first time in a process it compiles the module, which takes some 50 ms. */
export function createServer(options?: ServerOptions): Promise<TestServer>;
