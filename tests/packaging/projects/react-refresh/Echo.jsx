import { useChannel, useLink, useMessages } from "duologue/react";
import { useEffect } from "react";

import { open, shows, text } from "./seen.js";

const VERSION = 1;

export function Echo() {
  const view = useLink(() => open());
  const channel = useChannel(view, "echo");
  const messages = useMessages(channel, { decode: text });
  useEffect(() => {
    channel?.send(`from version ${VERSION}`).catch(() => {});
  }, [channel, VERSION]);
  useEffect(() => {
    shows(VERSION, view.state, messages);
  }, [messages, view.state, VERSION]);
  return <p>{view.state}</p>;
}
