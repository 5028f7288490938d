/**
 * Who is connected, who is kept out, and what happens: as the server's service `owner` tells it, asked for while somebody looks.
 *
 *   { ask: "look", after, find } ─► sessions, bans, the events since ─► three tables
 *   button ─► are you sure? ─► { ask: "revoke" } ─► "step-up-needed" ─► link.stepUp() ─► the same again ─► done
 */

import { size } from "./amounts.js";
import { explain, has, label, learn, locale, onLanguage, say, sayPlain, words } from "./base.js";
import { Table } from "./rows.js";
import { EVENTS_WORDS } from "./words/text-events.js";
import { FILES_WORDS } from "./words/text-files.js";
import { PRESENT_WORDS } from "./words/text-present.js";

const PAUSE_MS = 1_500;
const EVENTS_SHOWN = 100;
/** How often a screen reader hears of news. */
const QUIET_MS = 15_000;
const SHORT = 10; // characters of a device's id

learn(EVENTS_WORDS);
learn(FILES_WORDS); // sizes among them
learn(PRESENT_WORDS);

const byId = (id) => document.getElementById(id);
const details = byId("owner-open");
const result = byId("owner-result");
const find = byId("owner-find");
const said = byId("owner-said");
const sessions = new Table(byId("owner-sessions"), {
  columns: ["owner.device", "owner.person", "owner.from", "owner.since", "owner.moved", "owner.do"],
  title: "owner-sessions-title",
  none: "owner.no-sessions",
});
const bans = new Table(byId("owner-bans"), {
  columns: ["owner.whom", "owner.by", "owner.until", "owner.do"],
  title: "owner-bans-title",
  none: "owner.no-bans",
});
const events = new Table(byId("owner-events"), {
  columns: ["owner.at", "owner.event", "owner.whose", "owner.from", "owner.note"],
  title: "owner-events-title",
  none: "owner.no-events",
});

let current = () => undefined;
let talk; // with the server, on the link that is in use
let seen; // the last answer
let heard = []; // the last events, the newest first
let after = 0;
let missed = 0;
let news = 0;
let toldAt = 0;
let isLooking = false;
let isBusy = false;

/** Shows it for as long as it is open. `currentLink` answers the link that is in use now, if it is open. */
export async function look(currentLink) {
  current = currentLink;
  if (isLooking) return;
  isLooking = true;
  toldAt = Date.now();
  try {
    while (details.open) {
      if (!document.hidden && !isBusy && current()) await once();
      await new Promise((soon) => setTimeout(soon, PAUSE_MS));
    }
  } finally {
    isLooking = false;
    talk?.end();
    talk = undefined;
  }
}

async function once() {
  try {
    const told = await ask({ ask: "look", after, find: find.value.trim() });
    if (told.next < after) [heard, missed] = [[], 0]; // the server was started again
    if (after > 0) news += told.events.length;
    heard = [...told.events.toReversed(), ...heard].slice(0, EVENTS_SHOWN);
    missed += after > 0 ? told.missed : 0;
    after = told.next;
    seen = told;
    show();
  } catch (error) {
    // What was open to this device is not any more, or the line has ended: the next look says so, or shows it again.
    if (current()) fail(error);
  }
}

/** One question after the other, on one channel of the link. */
function ask(question) {
  const link = current();
  if (!link) return Promise.reject(new Error(words("owner.no-line")));
  if (talk?.link !== link) talk = conversation(link);
  const mine = talk;
  const answer = mine.turn.then(() => mine.ask(question));
  mine.turn = answer.catch(() => {
    mine.end();
    if (talk === mine) talk = undefined;
  });
  return answer;
}

function conversation(link) {
  const channel = link.channel("owner");
  const messages = channel.json()[Symbol.asyncIterator]();
  return {
    link,
    turn: Promise.resolve(),
    end: () => channel.cancel(),
    async ask(question) {
      channel.sendJson(question).catch(() => {}); // the answer, or its absence, says more
      const { value, done } = await messages.next();
      if (done) throw new Error(words("owner.no-answer"));
      return value;
    },
  };
}

/** Does something, and shows first that somebody is there where the server asks for it. */
async function act(question, done) {
  if (isBusy) return;
  isBusy = true;
  delete result.dataset.status;
  say(result, "owner.doing");
  try {
    let told = await ask(question);
    if (told.refused === "step-up-needed") {
      say(result, "owner.step-up");
      await current()?.stepUp();
      told = await ask(question);
    }
    if (told.refused) {
      result.dataset.status = "failed";
      say(result, has(`owner.${told.refused}`) ? `owner.${told.refused}` : "owner.refused");
    } else {
      result.dataset.status = "done";
      say(result, told.done === "memory" ? "owner.memory" : done.key, done.values);
    }
  } catch (error) {
    fail(error);
  } finally {
    isBusy = false;
  }
  await once();
}

function fail(error) {
  result.dataset.status = "failed";
  if (has(`present.${error?.code}`)) say(result, `present.${error.code}`);
  else say(result, "owner.failed", { why: () => explain(error) });
}

function show() {
  if (!seen) return;
  say(byId("owner-sessions-title"), "owner.sessions", { shown: seen.sessions.length, all: seen.all });
  say(byId("owner-bans-title"), "owner.bans", { count: seen.all_bans });
  if (seen.audit?.failed) say(byId("owner-audit"), "owner.audit-failed", { why: seen.audit.failed });
  else if (seen.audit) say(byId("owner-audit"), "owner.audit", { head: seen.audit.head, at: seen.audit.signed_at, losses: seen.audit.losses });
  else say(byId("owner-audit"), "owner.no-audit");
  sessions.show(seen.sessions, {
    key: ({ id }) => id,
    texts: (one) => [
      [one.name ?? words("owner.guest"), one.device.slice(0, SHORT)].join(" · "),
      [one.subject, words(`owner.level-${one.level}`)].filter(Boolean).join(" · "),
      one.address ?? "",
      when(one.since),
      one.connected ? `↓ ${size(one.received)}  ↑ ${size(one.sent)}` : words("owner.away"),
      one.device === seen.own ? words("owner.yours") : "",
    ],
    make: (one) => (one.device === seen.own ? [] : [ender(one), revoker(one)]),
    mark: (one) => (one.connected ? "" : "away"),
  });
  const wanted = find.value.trim();
  bans.show(
    seen.bans.filter(({ what, which }) => which.includes(wanted) || what === wanted),
    {
      key: ({ what, which }) => `${what} ${which}`,
      texts: ({ what, which, by, until }) => [`${words(`owner.${what}`)} ${which}`, by === "owner" ? words("owner.whose-owner") : by, when(until), ""],
      make: (ban) => [lifter(ban)],
    },
  );
  const fits = (text) => text?.includes(wanted);
  events.show(
    heard.filter((one) => [one.event, worded(one), one.device, one.subject, one.address, one.note].some(fits)),
    {
      key: ({ number }) => number,
      texts: (one) => [
        new Date(one.at).toLocaleTimeString(locale()),
        worded(one),
        [one.subject, one.device?.slice(0, SHORT)].filter(Boolean).join(" · ") || words(`owner.whose-${one.whose}`),
        one.address ?? "",
        [one.label, one.code, one.note].filter(Boolean).join(" · "),
      ],
      mark: ({ level }) => level,
      title: ({ event }) => event, // as rules and the log name it
    },
  );
  const gone = missed + seen.lost;
  if (gone > 0) say(byId("owner-missed"), "owner.missed", { missed, lost: seen.lost });
  else sayPlain(byId("owner-missed"), "");
  // Whoever listens hears now and then that there is something, and reads it in the table.
  if (news > 0 && Date.now() - toldAt > QUIET_MS) {
    say(said, "owner.news", { count: news, sessions: seen.all });
    [news, toldAt] = [0, Date.now()];
  }
}

/** What it is, in words; a newer server's may have none here. */
const worded = ({ event }) => (has(`event.${event}`) ? words(`event.${event}`) : event);

function when(secs) {
  const date = new Date(secs * 1_000);
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(locale(), isToday ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "short" });
}

const nameOf = (one) => one.name ?? one.device.slice(0, SHORT);

function ender(one) {
  const question = { ask: "end", session: one.id };
  return button("owner.end", nameOf(one), () => act(question, { key: "owner.ended", values: { name: nameOf(one) } }));
}

function revoker(one) {
  const question = { ask: "revoke", device: one.device };
  const done = { key: "owner.revoked", values: { name: nameOf(one) } };
  return button("owner.revoke", nameOf(one), () => sure("owner.sure", nameOf(one), () => act(question, done)));
}

function lifter({ what, which }) {
  return button("owner.lift", which, () => act({ ask: "lift", what, which }, { key: "owner.lifted", values: { which } }));
}

function button(key, whom, work) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "quiet";
  say(made, key);
  label(made, `${key}-whom`, { whom });
  made.addEventListener("click", work);
  return made;
}

/** Asks once more before what cannot be taken back. */
function sure(key, name, work) {
  const dialog = document.createElement("dialog");
  dialog.id = "owner-sure";
  dialog.setAttribute("aria-labelledby", "owner-sure-what");
  const what = document.createElement("p");
  what.id = "owner-sure-what";
  say(what, key, { name });
  const actions = document.createElement("div");
  actions.className = "actions";
  for (const [answer, className] of [["owner.no", "primary"], ["owner.yes", "danger"]]) {
    const made = document.createElement("button");
    made.type = "button";
    made.id = answer.replace(".", "-");
    made.className = className;
    made.autofocus = answer === "owner.no";
    say(made, answer);
    made.addEventListener("click", () => {
      dialog.close();
      if (answer === "owner.yes") work();
    });
    actions.append(made);
  }
  dialog.append(what, actions);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

find.addEventListener("input", () => {
  show();
  if (!isBusy && current()) once();
});
onLanguage(show);
