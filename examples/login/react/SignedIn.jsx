import { useEffect, useRef, useState } from "react";

import { ask } from "../app.js";
import { say, timeOf } from "../words.js";

/** The page of one person. */
export function SignedIn({ link, standing, leave, fail }) {
  const [me, setMe] = useState({});
  const [notes, setNotes] = useState([]);
  const hello = useRef(null);

  useEffect(() => {
    let isOver = false;
    Promise.all([ask(link, "/api/me"), ask(link, "/api/notes")]).then(([me, notes]) => {
      if (isOver) return;
      setMe(me);
      setNotes(notes);
      hello.current?.focus();
    }, fail);
    return () => (isOver = true);
  }, [link]);

  async function add(event) {
    event.preventDefault();
    const form = event.currentTarget;
    try {
      setNotes(await ask(link, "/api/notes", { text: new FormData(form).get("text") }));
      form.reset();
    } catch (error) {
      fail(error);
    }
  }

  const said = [
    ["who.line", "line-says", say("who.line.says", { ...standing, until: timeOf(standing.until) })],
    ["who.backend", "cookie-says", me.name],
    ["who.header", "header-says", me.subject],
    ["who.cookie", "own-cookies", document.cookie || say("who.none")],
  ];
  return (
    <>
      <section aria-labelledby="hello">
        <div className="bar">
          <h2 id="hello" tabIndex={-1} ref={hello}>
            {me.name && say("hello", me)}
          </h2>
          <button type="button" id="sign-out" onClick={leave}>
            {say("out.submit")}
          </button>
        </div>
      </section>
      <section aria-labelledby="notes-title">
        <h2 id="notes-title">{say("notes.title")}</h2>
        <ol id="notes">
          {notes.map((text, index) => (
            <li key={index}>{text}</li>
          ))}
        </ol>
        {notes.length === 0 && <p className="hint">{say("notes.none")}</p>}
        <form id="add" onSubmit={add}>
          <label>
            <span>{say("notes.label")}</span>
            <input name="text" maxLength={1000} autoComplete="off" required />
          </label>
          <button>{say("notes.submit")}</button>
        </form>
      </section>
      <section aria-labelledby="who-title">
        <h2 id="who-title">{say("who.title")}</h2>
        <dl>
          {said.map(([key, id, text]) => (
            <div key={id}>
              <dt>{say(key)}</dt>
              <dd id={id}>{text}</dd>
            </div>
          ))}
        </dl>
      </section>
    </>
  );
}
