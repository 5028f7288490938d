/**
 * Round trips, before their script is there: echo.js is loaded when the line is open, or the button is pressed.
 */

import { say } from "./say.js";

let echo; // the module, once it is there
let loading;
let state = "connecting";
let currentLink;

function load() {
  loading ??= import("./echo.js").then(
    (module) => {
      echo = module;
      echo.startEcho(currentLink);
      echo.echoState(state);
      return echo;
    },
    () => {
      loading = undefined;
      say(document.getElementById("echo-result"), "echo.not-loaded");
    },
  );
  return loading;
}

/** `current` answers the link that is in use now, if it is open. */
export function startPulse(current) {
  currentLink = current;
  document.getElementById("echo-button").addEventListener("click", async () => (await load())?.roundTrip(current()));
}

export function pulseState(next) {
  state = next;
  if (echo) echo.echoState(state);
  else if (state === "open") load();
}
