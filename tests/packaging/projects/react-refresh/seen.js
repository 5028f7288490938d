// What the component shows, told to the test after each version of it; and how many lines it has opened.

import { connect } from "duologue";

const parameters = new URLSearchParams(location.search);
const links = [];
let told = 0;

export const text = (message) => new TextDecoder().decode(message);

export function open() {
  const link = connect({ url: parameters.get("url"), invite: links.length === 0 ? parameters.get("invite") : undefined });
  links.push(link);
  return link;
}

export async function shows(version, state, messages) {
  if (version <= told || state !== "open" || !messages.includes(`from version ${version}`)) return;
  told = version;
  const closed = (await Promise.all(links.slice(0, -1).map((link) => link.closed))).length;
  const said = { version, links: links.length, closed, messages: [...new Set(messages)] };
  fetch(parameters.get("report"), { method: "POST", body: JSON.stringify(said) });
}
