import type { Channel, DuologueError, Link, LinkState, Loose, ProtocolOf, Receives, Sends } from "duologue";

/** A link as a component sees it. */
export interface LinkView<P extends ProtocolOf<P> = Loose> {
  /** Undefined until the component is mounted. */
  readonly link: Link<P> | undefined;
  readonly state: LinkState;
  /** Why the link has closed, unless on purpose. */
  readonly error: (Error & { readonly code?: DuologueError["code"] }) | undefined;
  /** Counts the sessions that have followed the first: channels of an earlier one have ended. */
  readonly session: number;
}

/**
 * Opens a link when the component is mounted, closes it after it is unmounted, and opens another when a dependency has
 * changed. StrictMode's double mount opens one.
 *
 * ```jsx
 * const view = useLink(() => connect({ invite: location.href }), []);
 * ```
 */
export function useLink<P extends ProtocolOf<P> = Loose>(
  open: () => Link<P>,
  dependencies?: readonly unknown[],
): LinkView<P>;

/** A channel of the link, opened anew in each session, cancelled when the component is unmounted. */
export function useChannel<P extends ProtocolOf<P>, L extends keyof P & string>(
  view: LinkView<P>,
  label: L,
): Channel<Sends<P, L>, Receives<P, L>> | undefined;

/**
 * The last messages of a channel, the oldest first. They are read while a component shows them; otherwise they wait, and
 * their sender with them. `decode` must be the same function in each render, such as one outside the component.
 */
export function useMessages<T>(
  channel: Channel<never, unknown> | undefined,
  options: { limit?: number; decode: (message: Uint8Array) => T },
): readonly T[];
export function useMessages(channel: Channel<never, unknown> | undefined, options?: { limit?: number }): readonly Uint8Array[];
