/**
 * What duologue.d.ts names of the platform, by the platform's own names: the types that the surroundings declare, whether the
 * DOM's, those of Node.js, of workers or of another runtime; and where these declare none (`lib: ["es2023"]`), the least that
 * is used here. Nothing global is declared, so that this fits beside any other declarations.
 */

/** What `new` of that global makes. */
type Instance<Name extends string, Otherwise> =
  typeof globalThis extends Record<Name, { readonly prototype: infer T }> ? T : Otherwise;

export type AbortSignal = Instance<"AbortSignal", { readonly aborted: boolean; readonly reason: any }>;
export type URL = Instance<"URL", { readonly href: string; toString(): string }>;
export type MessagePort = Instance<"MessagePort", never>;
export type Worker = Instance<"Worker", never>;
export type SharedWorker = Instance<"SharedWorker", never>;

// Events.

export type Event = Instance<"Event", { readonly type: string; readonly target: unknown }>;

interface EventTargetLike {
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void;
  dispatchEvent(event: Event): boolean;
}

type EventTargetOfPlatform = Instance<"EventTarget", EventTargetLike>;

/**
 * `await using link = connect()`, where the surroundings have `Symbol.asyncDispose`: closes it, and waits until it has ended. In the
 * npm package; the script that a server serves leaves it out.
 */
type Disposed = SymbolConstructor extends { readonly asyncDispose: infer S extends symbol }
  ? { [K in S]: () => Promise<void> }
  : unknown;

export declare const EventTarget: { new (): EventTargetOfPlatform; prototype: EventTargetOfPlatform };
/** As `EventTarget`, and disposable. */
export declare const DisposableEventTarget: { new (): EventTargetOfPlatform & Disposed };

export type EventListenerOrEventListenerObject = ((event: Event) => void) | { handleEvent(event: Event): void };

export interface EventListenerOptions {
  capture?: boolean;
}

export interface AddEventListenerOptions extends EventListenerOptions {
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}

interface CustomEventClass {
  new <T>(type: string, init?: { detail?: T }): Event & { readonly detail: T };
}

interface ReadableStreamClass {
  new <R>(): {
    readonly locked: boolean;
    cancel(reason?: unknown): Promise<void>;
    getReader(): {
      read(): Promise<{ done: false; value: R } | { done: true; value: R | undefined }>;
      cancel(reason?: unknown): Promise<void>;
      releaseLock(): void;
      readonly closed: Promise<unknown>;
    };
    [Symbol.asyncIterator](): AsyncIterableIterator<R>;
  };
}

interface WritableStreamClass {
  new <W>(): {
    readonly locked: boolean;
    abort(reason?: unknown): Promise<void>;
    close(): Promise<void>;
    getWriter(): {
      write(chunk: W): Promise<void>;
      close(): Promise<void>;
      abort(reason?: unknown): Promise<void>;
      releaseLock(): void;
      readonly closed: Promise<unknown>;
      readonly ready: Promise<unknown>;
      readonly desiredSize: number | null;
    };
  };
}

/** Classes with a parameter, which only the class itself can be given. */
declare const classes: {
  CustomEvent: typeof globalThis extends { CustomEvent: infer C extends CustomEventClass } ? C : CustomEventClass;
  ReadableStream: typeof globalThis extends { ReadableStream: infer C extends new <R>(...options: any) => any } ? C : ReadableStreamClass;
  WritableStream: typeof globalThis extends { WritableStream: infer C extends new <W>(...options: any) => any } ? C : WritableStreamClass;
};

export type CustomEvent<T> = InstanceType<typeof classes.CustomEvent<T>>;
export type ReadableStream<R> = InstanceType<typeof classes.ReadableStream<R>>;
export type WritableStream<W> = InstanceType<typeof classes.WritableStream<W>>;

// `fetch`.

interface ResponseLike {
  readonly ok: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly url: string;
  readonly redirected: boolean;
  readonly headers: Iterable<[string, string]> & { get(name: string): string | null; has(name: string): boolean };
  readonly body: ReadableStream<Uint8Array> | null;
  readonly bodyUsed: boolean;
  arrayBuffer(): Promise<ArrayBuffer>;
  json(): Promise<any>;
  text(): Promise<string>;
  clone(): ResponseLike;
}

interface RequestInitLike {
  method?: string;
  headers?: Record<string, string> | [string, string][];
  body?: Uint8Array | ArrayBuffer | string | ReadableStream<Uint8Array> | null;
  redirect?: "follow" | "error" | "manual";
  signal?: AbortSignal | null;
}

type Fetch = typeof globalThis extends { fetch: infer F extends (...request: any) => Promise<any> }
  ? F
  : (input: string | URL, init?: RequestInitLike) => Promise<ResponseLike>;

export type RequestInfo = Parameters<Fetch>[0];
export type RequestInit = NonNullable<Parameters<Fetch>[1]>;
export type Response = Awaited<ReturnType<Fetch>>;
/** What `fetch` would send. */
export type FetchRequest = Instance<"Request", { readonly method: string; readonly url: string; text(): Promise<string>; json(): Promise<any> }>;
