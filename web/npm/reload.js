/**
 * What a hot reload lets go when React mounts components anew: what they had opened waits here for those that come in their
 * place.
 *
 * Only then, since otherwise components are mounted anew for a reason of their own, such as a `key` that has changed, and want
 * what is theirs. Vite's plugin says when (`__registerBeforePerformReactRefresh`); where nobody does, such a save opens anew.
 */

/** From when a hot reload is announced until all components are mounted. */
const RELOAD_MILLIS = 100;

let isReloading = false;
let timer;
const letGo = new Set();

export const hotReload = {
  /** For how long what nobody uses stays open. */
  get patienceMillis() {
    return isReloading ? RELOAD_MILLIS : 0;
  },

  letGo(held) {
    if (isReloading) letGo.add(held);
  },

  /** The first that is wanted, once. */
  take(isWanted) {
    for (const held of letGo) {
      if (!isWanted(held)) continue;
      letGo.delete(held);
      return held;
    }
    return undefined;
  },
};

globalThis.__registerBeforePerformReactRefresh?.(() => {
  isReloading = true;
  clearTimeout(timer);
  timer = setTimeout(() => {
    isReloading = false;
    letGo.clear();
  }, RELOAD_MILLIS);
});
