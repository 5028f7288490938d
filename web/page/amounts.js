/**
 * Bytes, parts and times in the words of the person's language.
 */

import { words } from "./base.js";

const UNITS = ["b", "kb", "mb", "gb", "tb"];

/** A number of bytes, in thousands: three digits tell enough. */
export function size(bytes) {
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return words(`size.${UNITS[unit]}`, { value: value < 99.5 ? value : Math.round(value) });
}

/** Whole hundredths, rounded down: 100 only when all is there. */
export const percent = (part, whole) => (whole > 0 ? Math.floor((100 * part) / whole) : 0);

/** Seconds to come: the longer, the rougher. */
export function duration(seconds) {
  if (seconds < 60) return words("time.seconds", { seconds: Math.max(1, Math.ceil(seconds)) });
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return words("time.minutes", { minutes });
  return words("time.hours", { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}
