/**
 * That something on the way alters the line's records: how often, and since when. Loaded when it has happened.
 */

import { learn, locale, say } from "./base.js";
import { ALTERED_WORDS } from "./words/text-altered.js";

const note = document.getElementById("altered");

learn(ALTERED_WORDS);

/** `{ count, since }`, as a link tells it. */
export function showAltered({ count, since }) {
  const isToday = new Date().toDateString() === since.toDateString();
  const form = isToday ? { timeStyle: "short" } : { timeStyle: "short", dateStyle: "medium" };
  const time = () => new Intl.DateTimeFormat(locale(), form).format(since);
  say(note, count === 1 ? "altered.once" : "altered.times", { count, time });
}
