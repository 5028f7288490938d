/**
 * A device's name, as a browser has it that makes a key: loaded with what makes it.
 */

/** What the server's owner reads in the list of devices. */
export function browserName() {
  const agent = globalThis.navigator?.userAgent ?? "";
  const runtime = globalThis.process?.versions?.node;
  if (runtime && !globalThis.document) return `${agent || `Node.js/${runtime}`} on ${globalThis.process.platform}`;
  // The first sign that is there, and what it stands for where that is something else.
  const named = (signs) => signs.find(([sign]) => agent.includes(sign)).at(-1);
  const browser = named([["Firefox"], ["Edg/", "Edge"], ["Chrome/", "Chromium"], ["Safari"], ["", "a browser"]]);
  const system = named([["Android"], ["iPhone", "iOS"], ["iPad", "iOS"], ["Mac", "macOS"], ["Windows"], ["Linux"], ["", "an unknown system"]]);
  return `${browser} on ${system}`;
}
