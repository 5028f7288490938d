/** What both pages do over their link: sign in, come back after a reload, sign out. */

import { connect } from "duologue";

/** All tabs have one line, and with it one login. With the server's key, which its build may have, a page needs no invite: the policy
 * lets guests as far as the login. */
export const open = () => connect({ invite: location.href, serverKey: import.meta.env.VITE_SERVER_KEY, worker: "shared" });

/** As `fetch`, with JSON both ways; what the backend refuses is an error with its word as `code`. */
export async function ask(link, path, body) {
  const headers = { "content-type": "application/json" };
  const response = await link.fetch(path, body && { method: "POST", body: JSON.stringify(body), headers });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { code: answer.error });
  return answer;
}

/** The backend's answer raises `link.standing`, in all tabs. */
export async function signIn(link, name, password) {
  const { tab } = await ask(link, "/api/login", { name, password });
  sessionStorage.setItem("tab", tab);
}

/** A reload of the only tab has ended its session: the tab's key, good on this device alone, begins the login anew. */
export async function comeBack(link) {
  await link.ready;
  const tab = sessionStorage.getItem("tab");
  if (!tab || isSignedIn(link)) return;
  await ask(link, "/api/login", { tab }).catch(({ code }) => code === "tab-unknown" && forget());
}

/** Whoever is here next is somebody else. */
export const forget = () => sessionStorage.removeItem("tab");

/** The backend ends its session; and the line's server, asked or not, all that it knows of the person on this device. */
export async function signOut(link) {
  forget();
  await ask(link, "/api/logout", {}).catch(() => {});
  await link.signOut();
}

export const isSignedIn = (link) => link?.standing?.level >= 2;
