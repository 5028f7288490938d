/**
 * Tokens that a link shows of its person, signing out, and proofs by the device's key. Loaded only where one of them is asked for.
 *
 *   connect ─► ask ─► AUTH with the token ─► standing: level, seconds, … ─► near its end, or when the server wants another:
 *                                                ▲                          ask, once for what was shown ─► EVIDENCE
 *                                                └──────────────────────────────────────────────────────────┘
 *
 * A token that is given as text is shown as it is, and never asked for again. What cannot be had is told, and asked for again with
 * the next connection; until then the standing falls as the server says. Where pages share a line, the newest that has a token is
 * asked (held.js). Who has signed out, here or elsewhere on this device, is asked no more, and shown no more.
 */

import { DuologueError } from "./duologue.js";
import { after, base64url, jwkOf } from "./values.js";

/** Kinds of evidence on the wire. */
const TOKEN = 1;
const SIGN_OUT = 2;
/** The longest that is shown. */
const TOKEN_LEN_MAX = 8_184;
/** How long before a standing's end a token is asked for; half of its time, where that is less. */
const BEFORE_END_MILLIS = 60_000;
const SIGNED_OUT = "signed-out";

/** What is told of each word of the server's: what has happened, and what to do. */
const SENTENCES = {
  "token-malformed": "The token is no signed JSON Web Token of at most 8,184 bytes: give connect the token as its issuer made it.",
  "token-kind": "This kind of token is no login: use an ID token or an access token.",
  "token-key": "The issuer has no key of the token's `kid`: the server's owner should look whether `keys` is of this issuer.",
  "token-keys-unreachable": "The server could not get the issuer's keys: try again; its owner finds the cause in the server's log.",
  "token-algorithm": "The token is signed by another algorithm than its key is for: have the issuer sign by the `alg` of its key.",
  "token-altered": "The token's signature is not of its issuer's key: take it from the issuer anew, and pass it on unchanged.",
  "token-issuer": "Another issuer has made the token: sign in at the one that the server trusts.",
  "token-audience": "The token is for somebody else: ask the issuer for one for the server's `audience`.",
  "token-expired": "The token's time is over: ask the issuer for a new one.",
  "token-not-yet": "The token's time has not come: set the clocks, between which are more than 5 s.",
  "token-claims": "A claim that the server needs is missing in the token, or not what it should be: have the issuer add it.",
  "token-of-another-device": "The token is bound to another device: ask for one with this device's `nonce`, or a proof by its key.",
  "token-revoked": "The server's owner has revoked the token or its person: sign in anew, or ask the owner.",
  "device-of-another-subject": "This device is bound to somebody else: sign in as they, or ask the server's owner to release it.",
  "token-not-taken": "This server takes no tokens: connect without one, or have its owner name an issuer.",
  "standing-expired": "The time of what the owner's backend has said of this person is over: let them sign in again.",
  "hook-refused": "The owner's backend does not let this person in: do what its words say, and connect again.",
  "hook-unreachable": "The owner's backend, which the server asks of everybody, has not answered: try again; its owner finds the cause in the server's log.",
  "hook-answer": "The server could not read what the owner's backend has answered: its owner finds the cause in the server's log.",
  "hook-stranger": "The owner's backend names somebody else than the token does: sign in as they, or have the owner look into the server's log.",
};

const signsOut = (line) => line.show(SIGN_OUT, Uint8Array.of(0));

/** Keeps the token of a link young. */
export class Tokens {
  #source;
  #link;
  #tell; // (code, reason): there is no token, or it is not taken
  #line;
  #shown = 0; // the number of what was shown last, where no worker counts
  #asked; // for which number, on this connection, another was asked for
  #refused; // number and word, once they were told
  #isTried = false; // somebody was asked before the first connection
  #isOver = false;
  #stop = () => {};

  constructor(source, link, tell) {
    if (typeof source !== "string" && typeof source !== "function") {
      throw new TypeError("`token` is a token, or a function that gives one.");
    }
    this.#source = source;
    this.#link = link;
    this.#tell = tell;
  }

  /** The first, before anybody is dialled. None if nobody has signed in, or it cannot be had, which is told. */
  async first() {
    const token = await this.#get();
    return (line) => {
      this.#line = line;
      if (token && !this.#isOver) this.#show(token);
    };
  }

  /** The server has told of its standing: with a new connection, or on the open line. `shown` is the number of what was shown last,
   * if a worker counts; `isMine` if this page is to be asked. */
  told({ evidence, wants, secs, refused }, isNew, shown = this.#shown, isMine = true) {
    if (this.#isOver) return;
    if (isNew) this.#asked = undefined;
    // What this link has is not to be shown again either, where the word came from another session of the device.
    if (refused === SIGNED_OUT) {
      this.stop();
      if (evidence === shown && shown > 0) signsOut(this.#line);
      return;
    }
    // Judged by something older than is on its way.
    if (evidence !== shown) return;
    if (refused && this.#refused !== `${shown} ${refused}`) {
      this.#refused = `${shown} ${refused}`;
      this.#tell(refused, SENTENCES[refused] ?? `The server does not take the token: ${refused}.`);
    }
    if (!isMine || this.#asked === shown || typeof this.#source === "string") return;
    const left = secs * 1_000;
    const isWanted = wants || (isNew && shown === 0 && this.#isTried);
    this.#isTried = true;
    this.#stop();
    if (!isWanted && !left) return;
    const wait = isWanted ? 0 : left - Math.min(BEFORE_END_MILLIS, left / 2);
    if (isWanted) this.#asked = shown;
    this.#stop = after(wait, () => this.#renew());
  }

  /** Nothing is asked for or shown any more. */
  stop() {
    this.#isOver = true;
    this.#stop();
  }

  async #renew() {
    let isStopped = false;
    this.#stop = () => (isStopped = true);
    const token = await this.#get();
    if (token && !isStopped && !this.#isOver) this.#show(token);
  }

  #show(token) {
    this.#shown = this.#line.show(TOKEN, token);
  }

  /** As bytes. */
  async #get() {
    try {
      const token = typeof this.#source === "string" ? this.#source : await this.#source(this.#link.device);
      if (token === undefined || token === null || token === "") return undefined; // nobody has signed in
      if (typeof token !== "string") throw new TypeError(`it gives ${typeof token}`);
      const bytes = new TextEncoder().encode(token);
      if (bytes.length <= TOKEN_LEN_MAX) return bytes;
      this.#tell("token-malformed", SENTENCES["token-malformed"]);
    } catch (error) {
      const why = error?.message ?? String(error);
      this.#tell("no-token", `The function that connect was given as \`token\` has failed: ${why}`);
    }
    return undefined;
  }
}

/** Fulfils when the server has said that its person is signed out, or has ended the line. */
export async function signOut(link) {
  const heard = new Promise((resolve) => {
    const listen = () => link.standing.refused === SIGNED_OUT && resolve();
    link.addEventListener("standing", listen);
    link.closed.then(() => link.removeEventListener("standing", listen));
  });
  await new Promise((resolve, reject) => link._run((line) => resolve(signsOut(line)), reject));
  const end = await Promise.race([heard, link.closed]);
  if (end && !end.byPeer) throw new DuologueError(end.code, end.reason);
}

/** A DPoP proof (RFC 9449) by the device's key, for one request. What is signed begins with `eyJ`, and what the line signs with
 * `duologue/`: neither is ever taken for the other. */
export async function proof({ algorithm, spki, sign }, { htm, htu, nonce, ath }) {
  const address = new URL(htu, globalThis.location?.href);
  address.search = address.hash = "";
  const alg = algorithm === "Ed25519" ? "EdDSA" : "ES256";
  const head = { typ: "dpop+jwt", alg, jwk: jwkOf({ algorithm, spki }) };
  const iat = Math.floor(Date.now() / 1_000);
  const jti = base64url(crypto.getRandomValues(new Uint8Array(16)));
  const encode = (text) => new TextEncoder().encode(text);
  const input = [head, { jti, htm, htu: address.href, iat, nonce, ath }]
    .map((part) => base64url(encode(JSON.stringify(part))))
    .join(".");
  return `${input}.${base64url(await sign(encode(input)))}`;
}
