// A real issuer: npm `oidc-provider`, with a login page of its own that loads nothing from elsewhere. Prints its address, then serves
// until its standard input ends. The first argument is the folder of its packages, the second that of the page's scripts, with which it
// serves an app at `/app/`, and the third how long an ID token lasts, in seconds.
//
// A client for each algorithm, `app-ES256` and so on; its access tokens are JWTs for `api`. On `/rotate` it takes new keys, and has the old
// ones no more; on `/forget-me` it forgets who has signed in.

import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";
import { pathToFileURL } from "node:url";

const [, , packages, scripts, idTokenSeconds] = process.argv;

const require = createRequire(`${packages}/`);
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const ALGORITHMS = {
  ES256: ["ec", { namedCurve: "P-256" }],
  EdDSA: ["ed25519", {}],
  RS256: ["rsa", { modulusLength: 2048 }],
  PS256: ["rsa", { modulusLength: 2048 }],
};

let generation = 0;

const keys = () => {
  generation += 1;
  return Object.entries(ALGORITHMS).map(([alg, [kind, options]]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }),
    alg,
    use: "sig",
    kid: `${alg}-${generation}`,
  }));
};

const provider = (issuer) =>
  new Provider(issuer, {
    clients: Object.keys(ALGORITHMS).map((alg) => ({
      client_id: `app-${alg}`,
      token_endpoint_auth_method: "none",
      redirect_uris: [`${issuer}/done`, `${issuer}/app/`],
      grant_types: ["authorization_code", "refresh_token"],
      post_logout_redirect_uris: [`${issuer}/bye`],
      id_token_signed_response_alg: alg,
    })),
    jwks: { keys: keys() },
    enabledJWA: { idTokenSigningAlgValues: Object.keys(ALGORITHMS) },
    cookies: { keys: ["of a test"] },
    conformIdTokenClaims: false,
    claims: { openid: ["sub", "groups"] },
    findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId, groups: ["staff", "admins"] }) }),
    extraTokenClaims: () => ({ groups: ["staff"] }),
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "https://api.example",
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "",
          audience: "api",
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
    interactions: { url: (_, { uid }) => `/login/${uid}` },
    // Who logs in agrees: what is tested is not a question.
    loadExistingGrant: async (context) => {
      const { client, session } = context.oidc;
      const grant = new context.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope("openid");
      await grant.save();
      return grant;
    },
    issueRefreshToken: async () => true,
    ttl: { AccessToken: 300, IdToken: Number(idTokenSeconds ?? 300), RefreshToken: 600, Grant: 600, Interaction: 600, Session: 600 },
  });

const page = (path) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>
<form method="post" action="${path}"><label>Name <input name="name" autofocus></label> <button>Sign in</button></form></html>`;

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };

/** A file of the app's or of the page's scripts. */
async function deliver(pathname, response) {
  const name = normalize(pathname.slice("/app/".length) || "app.html");
  const file = name.startsWith("app.") ? new URL(name, import.meta.url) : join(scripts, name);
  try {
    if (name.startsWith("..")) throw new Error("outside");
    const body = await readFile(file);
    response.setHeader("content-type", TYPES[extname(name)] ?? "application/octet-stream");
    response.end(body);
  } catch {
    response.statusCode = 404;
    response.end();
  }
}

let current;
const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/rotate") {
    current = provider(current.issuer);
    return response.end();
  }
  if (pathname === "/forget-me") {
    const names = ["_session", "_session.sig", "_session.legacy", "_session.legacy.sig"];
    response.setHeader("set-cookie", names.map((name) => `${name}=; path=/; max-age=0`));
    return response.end();
  }
  if (pathname.startsWith("/app/")) {
    return deliver(pathname, response);
  }
  if (!pathname.startsWith("/login/")) {
    return current.callback()(request, response);
  }
  if (request.method !== "POST") {
    response.setHeader("content-type", "text/html; charset=utf-8");
    return response.end(page(pathname));
  }
  let body = "";
  for await (const piece of request) {
    body += piece;
  }
  const accountId = new URLSearchParams(body).get("name");
  await current.interactionFinished(request, response, { login: { accountId } }, { mergeWithLastSubmission: false });
});

server.listen(0, "127.0.0.1", () => {
  const issuer = `http://localhost:${server.address().port}`;
  current = provider(issuer);
  console.log(`issuer ${issuer}`);
});
process.stdin.resume().on("end", () => process.exit());
