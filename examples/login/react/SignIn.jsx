import { useState } from "react";

import { signIn } from "../app.js";
import { say } from "../words.js";

export function SignIn({ link, tell, fail }) {
  const [isAsking, setAsking] = useState(false);

  async function submit(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const { name, password } = Object.fromEntries(new FormData(form));
    setAsking(true);
    tell("");
    try {
      await signIn(link, name.trim(), password); // the link's standing rises, and the page with it
    } catch (error) {
      fail(error);
      form.elements.name.focus();
    } finally {
      setAsking(false);
    }
  }

  return (
    <section aria-labelledby="form-title">
      <h2 id="form-title">{say("form.title")}</h2>
      <form id="sign-in" onSubmit={submit}>
        <label>
          <span>{say("form.name")}</span>
          <input name="name" autoComplete="username" autoCapitalize="none" spellCheck="false" required aria-describedby="notice" />
        </label>
        <label>
          <span>{say("form.password")}</span>
          <input name="password" type="password" autoComplete="current-password" required aria-describedby="notice" />
        </label>
        <button className="primary" disabled={isAsking}>
          {say("form.submit")}
        </button>
      </form>
      <p className="hint">{say("form.hint")}</p>
    </section>
  );
}
