/**
 * Scripts that are loaded when they are wanted: they wait for the network, as everything else does.
 */

/** How often a script is asked for that does not come, while nothing says that the network is away: for 19 s. */
export const TRIES = 20;
/** How much later each time, and how soon it is seen that there is a network again. */
const PAUSE_MILLIS = 100;

const pause = (times) => new Promise((resolve) => setTimeout(resolve, times * PAUSE_MILLIS));

/** What `get` imports. While `isAway`, which is told how often it was tried, nothing is asked for; what that throws ends it. */
export async function load(get, tries, isAway) {
  for (let tried = 0, url; ; ) {
    while (isAway(tried)) await pause(1);
    try {
      // Firefox never asks again for a module that it could not load, except under another address.
      return await (tried % 2 && url ? import(/* webpackIgnore: true */ /* @vite-ignore */ `${url}?${tried}`) : get());
    } catch (error) {
      // Service workers, which have no Worker either, may import nothing.
      if (++tried === tries || !globalThis.Worker) throw error;
      url = /http\S+$/.exec(error.message);
    }
    await pause(Math.min(tried, TRIES));
  }
}
