// Somebody who logs in without a browser, as one would: follows redirects, keeps cookies, fills in the form. Prints the tokens as JSON.
// Arguments: the issuer, the client, who it is, the nonce that the app asks for, and `dpop` for tokens that are bound to a key.

import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";

const [issuer, client, name, nonce, bound] = process.argv.slice(2);
const base64url = (data) => Buffer.from(data).toString("base64url");
const sha256 = (data) => createHash("sha256").update(data).digest();

const cookies = new Map();
const visit = async (address, form) => {
  const response = await fetch(new URL(address, issuer), {
    method: form ? "POST" : "GET",
    body: form && new URLSearchParams(form),
    redirect: "manual",
    headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; ") },
  });
  for (const cookie of response.headers.getSetCookie()) {
    const [name, value] = cookie.split(";")[0].split("=");
    cookies.set(name, value);
  }
  return response;
};

const verifier = base64url(randomBytes(32));
const redirectUri = `${issuer}/done`;
const asked = new URLSearchParams({
  client_id: client,
  response_type: "code",
  scope: "openid",
  redirect_uri: redirectUri,
  code_challenge: base64url(sha256(verifier)),
  code_challenge_method: "S256",
  ...(nonce && { nonce }),
});

let response = await visit(`/auth?${asked}`);
let address;
for (let steps = 0; steps < 10; steps += 1) {
  address = response.headers.get("location");
  if (!address) {
    throw new Error(`no redirect: ${response.status} ${await response.text()}`);
  }
  if (address.startsWith(redirectUri)) {
    break;
  }
  response = await visit(address);
  if (response.status === 200) {
    response = await visit(address, { name });
  }
}

const headers = {};
let jkt;
if (bound === "dpop") {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { crv, kty, x, y } = publicKey.export({ format: "jwk" });
  jkt = base64url(sha256(JSON.stringify({ crv, kty, x, y })));
  const head = { typ: "dpop+jwt", alg: "ES256", jwk: { crv, kty, x, y } };
  const claims = { htm: "POST", htu: `${issuer}/token`, iat: Math.floor(Date.now() / 1000), jti: base64url(randomBytes(16)) };
  const message = [head, claims].map((part) => base64url(JSON.stringify(part))).join(".");
  headers.dpop = `${message}.${base64url(sign("sha256", message, { key: privateKey, dsaEncoding: "ieee-p1363" }))}`;
}
const answer = await fetch(`${issuer}/token`, {
  method: "POST",
  headers,
  body: new URLSearchParams({
    grant_type: "authorization_code",
    code: new URL(address).searchParams.get("code"),
    client_id: client,
    redirect_uri: redirectUri,
    code_verifier: verifier,
  }),
});
const tokens = await answer.json();
if (!answer.ok) {
  throw new Error(JSON.stringify(tokens));
}
console.log(JSON.stringify({ id: tokens.id_token, access: tokens.access_token, jkt }));
