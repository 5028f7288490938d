// A component in StrictMode: how many sockets are opened while it is mounted, and what has become of them afterwards.

import { connect } from "duologue";
import { useChannel, useLink, useMessages } from "duologue/react";
import React, { StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";

const parameters = new URLSearchParams(location.search);
const sockets = [];
const links = [];
let mounts = 0;

class Counted extends WebSocket {
  constructor(...options) {
    super(...options);
    sockets.push(this);
  }
}

const text = (message) => new TextDecoder().decode(message);

function Echo() {
  const view = useLink(() => {
    const link = connect({ url: parameters.get("url"), invite: parameters.get("invite"), WebSocket: Counted });
    links.push(link);
    return link;
  }, []);
  const channel = useChannel(view, "echo");
  const messages = useMessages(channel, { decode: text });
  useEffect(() => void mounts++, []);
  useEffect(() => {
    if (!channel) return;
    channel.send("one").catch(() => {});
    channel.send("two").catch(() => {});
  }, [channel]);
  useEffect(() => {
    // An answer may be here before the pin is kept, which is when the first line is open.
    if (messages.includes("two") && view.state === "open") left(view.state, messages);
  }, [messages, view.state]);
  return React.createElement("p", null, `${view.state}: ${messages.join(" ")}`);
}

const root = createRoot(document.getElementById("root"));
root.render(React.createElement(StrictMode, null, React.createElement(Echo)));

let isLeft = false;
async function left(state, messages) {
  if (isLeft) return;
  isLeft = true;
  setTimeout(() => root.unmount());
  const closed = await Promise.all(links.map((link) => link.closed));
  const said = { mounts, state, links: links.length, sockets: sockets.length, closed: closed.map(({ code }) => code), messages: [...new Set(messages)] };
  await fetch(parameters.get("report"), { method: "POST", body: JSON.stringify(said) });
}
