/** The page without a framework: `react/App.jsx` is the same one with React. */

import { ask, comeBack, forget, isSignedIn, open, signIn, signOut } from "./app.js";
import { explain, language, say, timeOf } from "./words.js";

const one = (id) => document.getElementById(id);
const write = (id, text) => (one(id).textContent = text);
let link;
let shown; // whose page it is
let isSettled; // whoever was signed in before a reload is again
let isLeaving = false;

document.documentElement.lang = language;
document.title = `Duologue: ${say("title")}`;
for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);

function begin(notice = "") {
  link?.close();
  const own = (link = open());
  isSettled = isLeaving = false;
  write("notice", notice);
  one("again").hidden = true;
  const look = () => own === link && show();
  own.addEventListener("statechange", look);
  own.addEventListener("standing", ({ detail }) => {
    // A line has one person: after a sign-out, here or in another tab, the next one has a new line.
    if (detail.refused === "signed-out" && shown && own === link && !isLeaving) begin();
    else look();
  });
  own.closed.then(({ code, reason }) => {
    if (own !== link) return;
    if (code === "subject-changed") {
      forget();
      return begin(say("end.subject-changed"));
    }
    show();
    write("notice", say(`end.${code}`, {}, reason));
    one("again").hidden = false;
  });
  comeBack(own)
    .catch(() => {}) // the line's end is told above
    .then(() => {
      if (own === link) isSettled = true;
      look();
    });
  show();
}

function show() {
  one("state").dataset.state = link.state;
  write("state", say(`state.${link.state}`));
  const isIn = isSignedIn(link);
  const isKnown = link.state !== "closed" && !isLeaving && (isIn || isSettled);
  const whose = isIn ? link.standing.subject : undefined;
  one("signed-out").hidden = !isKnown || isIn;
  one("signed-in").hidden = !isKnown || !isIn;
  const { subject, level, until } = link.standing ?? {};
  write("line-says", say("who.line.says", { subject, level, until: timeOf(until) }));
  if (whose === shown) return;
  // Nothing of one person is ever shown to another.
  shown = whose;
  showNotes([]);
  for (const id of ["hello", "cookie-says", "header-says"]) write(id, "");
  if (isIn) welcome(link).catch(fail);
}

async function welcome(own) {
  const [me, notes] = await Promise.all([ask(own, "/api/me"), ask(own, "/api/notes")]);
  if (own !== link || !isSignedIn(own)) return;
  write("notice", "");
  write("hello", say("hello", { name: me.name }));
  write("cookie-says", me.name);
  write("header-says", me.subject);
  write("own-cookies", document.cookie || say("who.none"));
  showNotes(notes);
  one("hello").focus();
}

function showNotes(notes) {
  one("notes").replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  one("no-notes").hidden = notes.length > 0;
}

const fail = (error) => write("notice", explain(error));

/** A form whose button waits for the answer. */
function answer(id, work) {
  one(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const button = form.querySelector("button");
    button.disabled = true;
    write("notice", "");
    try {
      await work(form, Object.fromEntries(new FormData(form)));
      form.reset();
    } catch (error) {
      fail(error);
      form.querySelector("input").focus();
    } finally {
      button.disabled = false;
    }
  });
}

answer("sign-in", (_, { name, password }) => signIn(link, name.trim(), password));
answer("add", async (_, { text }) => showNotes(await ask(link, "/api/notes", { text })));
one("sign-out").addEventListener("click", async () => {
  isLeaving = true; // the next person's form comes with the next line
  await signOut(link).catch(fail);
  begin();
});
one("again").addEventListener("click", () => begin());
begin();
