import { useLink } from "duologue/react";
import { useEffect, useRef, useState } from "react";

import { comeBack, forget, isSignedIn, open, signOut } from "../app.js";
import { explain, say } from "../words.js";
import { SignedIn } from "./SignedIn.jsx";
import { SignIn } from "./SignIn.jsx";
import { useStanding } from "./standing.js";

/** One line at a time: the next person has a new one. */
export function App() {
  const [number, setNumber] = useState(0);
  const [isLeaving, setLeaving] = useState(false);
  const { link, state, error } = useLink(open, [number]);
  const standing = useStanding(link);
  const [settled, setSettled] = useState(); // the link in which whoever was signed in before a reload is again
  const [notice, setNotice] = useState("");

  function begin(notice = "") {
    setLeaving(false);
    link?.close(); // before the other: tabs of one origin share a line
    setNotice(notice);
    setNumber((number) => number + 1);
  }

  useEffect(() => {
    if (link) comeBack(link).catch(() => {}).then(() => setSettled(link));
  }, [link]);

  const isIn = isSignedIn(link);
  const hasLeft = standing?.refused === "signed-out";
  const wasIn = useRef(false);
  useEffect(() => {
    // Signed out in another tab.
    if (hasLeft && wasIn.current && !isLeaving) begin();
    wasIn.current = isIn;
  }, [hasLeft, isIn]);
  useEffect(() => {
    if (error?.code !== "subject-changed") return;
    forget();
    begin(say("end.subject-changed"));
  }, [error]);

  async function leave() {
    setLeaving(true);
    await signOut(link).catch((error) => setNotice(explain(error)));
    begin();
  }

  const fail = (error) => setNotice(explain(error));
  const isKnown = state !== "closed" && !isLeaving && (isIn || (link && settled === link));
  return (
    <>
      <h1>{say("title")}</h1>
      <p className="intro">{say("intro")}</p>
      <p className="state" role="status" id="state" data-state={state}>
        {say(`state.${state}`)}
      </p>
      <p className="notice" role="alert" id="notice">
        {error ? explain(error) : notice}
      </p>
      {error && (
        <button type="button" id="again" onClick={() => begin()}>
          {say("again")}
        </button>
      )}
      {isKnown && !isIn && <SignIn link={link} tell={setNotice} fail={fail} />}
      {isKnown && isIn && <SignedIn key={standing.subject} link={link} standing={standing} leave={leave} fail={fail} />}
    </>
  );
}
