/**
 * The invite in an address: `#i=…`, or among other things that a page keeps in its fragment, `#x&i=…`.
 */

/** What the fragment says of an invite, whole or damaged: `i=…`. Undefined if nothing. */
export function inviteOf(link) {
  if (link === undefined) return undefined;
  const text = String(link);
  const parts = text.includes("#") ? text.slice(text.indexOf("#") + 1).split("&") : [text];
  return parts.find((part) => part.startsWith("i="));
}

/** Takes an invite out of the address bar and of its entry in the history, where it is in there; all else stays. */
export function clearInvite(invite) {
  const { location, history } = globalThis;
  if (invite === undefined || inviteOf(location?.hash) !== invite) return;
  const rest = location.hash.slice(1).split("&").filter((part) => part !== invite);
  const fragment = rest.length > 0 ? `#${rest.join("&")}` : "";
  try {
    history.replaceState(history.state, "", location.pathname + location.search + fragment);
  } catch {
    // This page may not change its address: whoever can read it there could read it before.
  }
}
