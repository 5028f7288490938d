// An app that signs in at the issuer, in the usual way (authorization code with PKCE), with tokens that are bound to its device.
// `sessionStorage.settings` says which server and client; without it nothing happens. `link` is the line, and `seen` what became of it.

import { connect } from "./duologue.js";

const settings = JSON.parse(sessionStorage.settings ?? "null");
const redirectUri = `${location.origin}/app/`;
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

async function signIn({ nonce }) {
  sessionStorage.verifier = random();
  sessionStorage.state = random();
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(sessionStorage.verifier));
  location.assign(`/auth?${new URLSearchParams({
    client_id: settings.client,
    response_type: "code",
    scope: "openid",
    redirect_uri: redirectUri,
    state: sessionStorage.state,
    nonce,
    code_challenge: base64url(new Uint8Array(hash)),
    code_challenge_method: "S256",
  })}`);
  return new Promise(() => {}); // the page goes
}

/** Bound by the login's nonce, or with `dpop` by a proof of the device's key: then it is the access token. */
async function ask(device, form) {
  const headers = settings.dpop ? { dpop: await device.proof({ htm: "POST", htu: new URL("/token", location) }) } : {};
  const body = new URLSearchParams({ client_id: settings.client, ...form });
  const answer = await fetch("/token", { method: "POST", headers, body });
  const tokens = await answer.json();
  if (!answer.ok) throw new Error(tokens.error_description ?? tokens.error);
  sessionStorage.refresh = tokens.refresh_token ?? sessionStorage.refresh;
  return settings.dpop ? tokens.access_token : tokens.id_token;
}

/** Back from the issuer with a code, in again by what is kept, or still to sign in. */
async function token(device) {
  seen.asked += 1;
  const address = new URL(location.href);
  const code = address.searchParams.get("code");
  if (code !== null && address.searchParams.get("state") === sessionStorage.state) {
    history.replaceState(null, "", address.pathname);
    return ask(device, { grant_type: "authorization_code", code, redirect_uri: redirectUri, code_verifier: sessionStorage.verifier });
  }
  if (sessionStorage.refresh) return ask(device, { grant_type: "refresh_token", refresh_token: sessionStorage.refresh });
  return signIn(device);
}

globalThis.seen = { asked: 0, states: [], standings: [], errors: [], fresh: [] };

if (settings) {
  const { url, serverKey, worker, account } = settings;
  const link = (globalThis.link = connect({ url, serverKey, worker, account, token }));
  link.addEventListener("statechange", () => seen.states.push(link.state));
  link.addEventListener("standing", ({ detail }) => seen.standings.push({ ...detail, until: detail.until?.getTime() }));
  link.addEventListener("tokenerror", ({ detail }) => seen.errors.push(detail));
  link.addEventListener("fresh", ({ detail }) => seen.fresh.push(detail.code));
  link.closed.then(({ code }) => (seen.end = code));
}
