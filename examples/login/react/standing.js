import { useCallback, useSyncExternalStore } from "react";

/** `link.standing`, rendered anew whenever the server tells of it. */
export function useStanding(link) {
  const subscribe = useCallback(
    (listener) => {
      link?.addEventListener("standing", listener);
      return () => link?.removeEventListener("standing", listener);
    },
    [link],
  );
  return useSyncExternalStore(subscribe, () => link?.standing, () => undefined);
}
