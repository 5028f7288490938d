/**
 * Echo round trip: 64 random bytes there and back, compared and timed, when the button is pressed, and every few seconds
 * while the page is seen and the line is open; the last times as a small chart, from ten on with its 50th and 95th
 * percentile. Loaded when a server that offers it has opened the line.
 *
 * A request lives on while the line is being picked up again: that time counts neither against the server's patience nor
 * as a round trip.
 */

import { explain, label, learn, onLanguage, pulsing, say, words, wrote } from "./base.js";
import { ECHO_WORDS } from "./words/text-echo.js";

const BYTES = 64;
const KEPT = 60;
/** Of fewer, percentiles say nothing: the 95th would be the slowest one. */
const PERCENTILES_FROM = 10;
/** The chart is as wide as so many at least: a few do not look like many. */
const WIDE = 20;
const PULSE_MS = 5_000;
const TIMEOUT_MS = 10_000;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 48;
const EDGE = 5;

learn(ECHO_WORDS);

const section = document.getElementById("echo");
const button = document.getElementById("echo-button");
const result = document.getElementById("echo-result");
const figure = document.getElementById("echo-figure");
const summary = document.getElementById("echo-summary");
const times = [];
let chart;
let waiting; // { stop, timer, held } while a request is under way
let lineIsOpen = false;

/** `currentLink` answers the link that is in use now, if it is open. */
export function startEcho(currentLink) {
  button.addEventListener("click", () => roundTrip(currentLink()));
  onLanguage(() => times.length > 0 && draw());
  setInterval(() => {
    const link = currentLink();
    if (link && lineIsOpen && !section.hidden && !waiting && document.visibilityState === "visible") pulse(link);
  }, PULSE_MS);
}

/** Whether the server offers it. */
export function served(is) {
  section.hidden = !is;
}

export function echoState(state) {
  lineIsOpen = state === "open" || state === "draining";
  button.disabled = state === "closed" || state === "connecting";
  if (waiting) watch();
}

async function roundTrip(link) {
  if (!link) {
    fail(() => words("echo.not-open"));
    return;
  }
  if (waiting && !waiting.quiet) return;
  const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
  waiting = { stop: new AbortController(), held: false };
  watch();
  try {
    wrote("echo", bytes);
    const start = performance.now();
    const answer = await link.request("echo", bytes, { signal: waiting.stop.signal });
    const ms = performance.now() - start;
    if (answer.length !== BYTES || answer.some((byte, at) => byte !== bytes[at])) {
      say(result, "echo.different");
      result.dataset.status = "failed";
      return;
    }
    result.dataset.status = "done";
    if (waiting.held) {
      say(result, "echo.resumed");
      return;
    }
    say(result, "echo.result", { ms: round(ms) });
    measured(ms);
  } catch (error) {
    fail(() => explain(error));
  } finally {
    clearTimeout(waiting.timer);
    waiting = undefined;
  }
}

/** A round trip that nobody asked for: nothing is said of it, it is only drawn. */
async function pulse(link) {
  const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
  const own = { quiet: true, held: false };
  waiting = own;
  pulsing(true);
  try {
    const start = performance.now();
    await link.request("echo", bytes);
    if (!own.held) measured(performance.now() - start);
  } catch {
    // Whatever ended it, the state of the line says it.
  }
  if (waiting === own) waiting = undefined;
  pulsing(false);
}

function measured(ms) {
  times.push(ms);
  if (times.length > KEPT) times.shift();
  draw();
}

/** Waits for the server while the line is open, and for the line while it is not. */
function watch() {
  clearTimeout(waiting.timer);
  if (waiting.quiet) {
    waiting.held ||= !lineIsOpen;
    return;
  }
  if (lineIsOpen) waiting.timer = setTimeout(() => waiting.stop.abort({ code: "deadline" }), TIMEOUT_MS);
  else waiting.held = true;
  say(result, lineIsOpen ? "echo.waiting" : "echo.held");
  result.dataset.status = "waiting";
}

function fail(why) {
  say(result, "echo.failed", { why });
  result.dataset.status = "failed";
}

/** One decimal: browsers measure no finer than 0.1 ms without cross-origin isolation. */
const round = (ms) => Math.round(ms * 10) / 10;

function draw() {
  const sorted = times.toSorted((a, b) => a - b);
  const percentile = (part) => sorted[Math.ceil(part * sorted.length) - 1];
  const lines = times.length < PERCENTILES_FROM ? [] : [percentile(0.5), percentile(0.95)];
  const [p50, p95] = lines.map(round);
  const values = { p50, p95, count: times.length, min: round(sorted[0]), max: round(sorted.at(-1)) };
  say(summary, lines.length > 0 ? "echo.summary" : times.length === 1 ? "echo.one" : "echo.few", values);

  const fresh = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "spark" });
  label(fresh, lines.length > 0 ? "echo.chart" : "echo.chart-few", values);
  const top = sorted.at(-1) || 1;
  const x = (at) => EDGE + (at * (WIDTH - 2 * EDGE)) / (Math.max(WIDE, times.length) - 1);
  const y = (ms) => HEIGHT - EDGE - (ms / top) * (HEIGHT - 2 * EDGE);
  const base = HEIGHT - EDGE;
  fresh.append(svg("line", { class: "spark-base", x1: 0, x2: WIDTH, y1: base, y2: base }));
  for (const ms of lines) fresh.append(svg("line", { class: "spark-median", x1: 0, x2: WIDTH, y1: y(ms), y2: y(ms) }));
  fresh.append(svg("polyline", { class: "spark-line", points: times.map((ms, at) => `${x(at)},${y(ms)}`).join(" ") }));
  const last = times.length - 1;
  fresh.append(svg("circle", { class: "spark-dot", cx: x(last), cy: y(times[last]), r: 4 }));
  if (chart) chart.replaceWith(fresh);
  else figure.prepend(fresh);
  chart = fresh;
  figure.hidden = false;
}

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
