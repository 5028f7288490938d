/**
 * The page's service worker: keeps the page itself, so that an installed app opens without a network. Nothing of a
 * conversation passes here: WebSockets do not, and nothing else is kept than what integrity.json lists.
 *
 *   request ─► the server, always ─► if it cannot be reached: what was kept
 *   the page was loaded ─► integrity.json ─► what is new is fetched, checked and kept, what is gone is dropped
 *
 * The server comes first because a page must fit its server. A script apart: it imports nothing and is imported by nobody.
 */

const BASE = new URL("..", location.href).pathname; // "/", unless the server is below a path
const SHELL = `duologue-shell${BASE.slice(0, -1)}`;
const LIST = `${BASE}integrity.json`;

const pathOf = (name) => BASE + (name === "index.html" ? "" : name);

async function refresh() {
  const shell = await caches.open(SHELL);
  const answer = await fetch(LIST);
  const kept = await shell.match(LIST);
  const { files } = await answer.clone().json();
  const before = kept ? (await kept.json()).files : {};
  const names = Object.keys(files).filter((name) => !name.endsWith(".ts")); // only developers read these
  for (const name of names) {
    if (before[name] === files[name]) continue;
    // A server in development alters a word of index.html.
    const part = await fetch(pathOf(name), name === "index.html" ? {} : { integrity: files[name] });
    if (!part.ok) throw new Error(`${name}: ${part.status}`);
    await shell.put(pathOf(name), part);
  }
  await shell.put(LIST, answer); // last: what it lists is there
  const listed = new Set(names.map(pathOf));
  for (const request of await shell.keys()) {
    const { pathname } = new URL(request.url);
    if (pathname !== LIST && !listed.has(pathname)) await shell.delete(request);
  }
}

async function answer(request, path) {
  try {
    return await fetch(request);
  } catch (error) {
    const shell = await caches.open(SHELL);
    const kept = await shell.match(request.mode === "navigate" ? BASE : path);
    if (!kept) throw error;
    return kept;
  }
}

addEventListener("install", (event) => event.waitUntil(refresh().then(() => skipWaiting())));
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin || !pathname.startsWith(BASE)) return;
  event.respondWith(answer(request, pathname));
  // A failure leaves what was kept; the next load tries again.
  if (request.mode === "navigate") event.waitUntil(refresh().catch(() => {}));
});
