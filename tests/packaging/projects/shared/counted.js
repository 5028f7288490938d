// What a recipe's component opens and shows, and what has become of it when it is gone.

import { connect } from "duologue";

const parameters = new URLSearchParams(location.search);
const links = [];
let sockets = 0;

class Counted extends WebSocket {
  constructor(...options) {
    super(...options);
    sockets += 1;
  }
}

export function open() {
  const link = connect({ url: parameters.get("url"), invite: parameters.get("invite"), WebSocket: Counted });
  links.push(link);
  return link;
}

/** Waits until the component shows what it should, takes it away, and reports. */
export async function reportOf(shows, unmount) {
  const root = document.getElementById("root");
  const tell = (result) => fetch(parameters.get("report"), { method: "POST", body: JSON.stringify(result) });
  const deadline = setTimeout(() => tell({ error: `it shows: ${root.textContent}` }), 30_000);
  await new Promise((resolve) => {
    new MutationObserver(() => root.textContent.trim() === shows && resolve()).observe(root, { subtree: true, childList: true, characterData: true });
  });
  clearTimeout(deadline);
  await unmount();
  const closed = await Promise.all(links.map((link) => link.closed));
  await tell({ links: links.length, sockets, closed: closed.map(({ code }) => code), left: root.textContent });
}
