/**
 * Passkeys for tests: the service of a server in memory, and an authenticator in the place of the browser's.
 *
 *   link.stepUp() ─► passkeys.js ─► the service below: challenges, whose a passkey is, who may register ─► level 3
 *                        └─► navigator.credentials: `authenticator`, whose person agrees or does not
 *
 * The rules are a real server's (server/src/services/passkeys.rs). Signatures are nobody's: both ends are the test's.
 */

import { base64url, fromJson } from "./values.js";

const PASSKEYS_MAX = 8;
/** How long ago a login, or presence, may be by which passkeys are registered and removed. */
const FRESH_MILLIS = 5 * 60_000;
/** Challenges that wait for an answer, of a session. */
const CHALLENGES_MAX = 2;

const random = (length) => base64url(crypto.getRandomValues(new Uint8Array(length)));
const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
const isFresh = (at) => at !== undefined && performance.now() - at < FRESH_MILLIS;

/** What a server keeps of passkeys. */
export class Passkeys {
  /** The word by which everything is refused, if it is. */
  refused;
  #of = new Map(); // by subject
  #waiting = new WeakMap(); // by session: [{ challenge, isMade }]

  /** Serves a channel. */
  async serve(channel, call) {
    for await (const message of channel) {
      const told = this.#answer(fromJson(message), call);
      await channel.sendJson(typeof told === "string" ? { refused: told } : told);
    }
  }

  #answer(asked, { session, device, name: deviceName }) {
    if (this.refused) return this.refused;
    const { level, subject } = session.standing;
    if (!subject || level === 0) return "no-subject";
    if (!this.#of.has(subject)) this.#of.set(subject, []);
    const known = this.#of.get(subject);
    const isPresent = level === 3 && isFresh(session._presentAt);
    const told = ({ id, name, made, used, by }) => ({ id, name, made_at: made, used_at: used ?? null, backed_up: false, here: by === device });
    const now = Math.floor(Date.now() / 1_000);
    switch (asked.ask) {
      case "step-up":
        return known.length === 0 ? "passkey-none" : this.#options(session, false, { rpId: "duologue.test", allowCredentials: known.map(described) });
      case "present": {
        if (!this.#take(session, asked.credential, false)) return "passkey-late";
        const passkey = known.find(({ credential }) => credential === asked.credential.id);
        if (!passkey) return "passkey-unknown";
        passkey.used = now;
        return session._present(passkey) ? { level: 3 } : "no-subject";
      }
      case "register": {
        if (known.length > 0 ? !isPresent : !isFresh(session._provedAt)) return known.length > 0 ? "step-up-needed" : "login-too-old";
        if (known.length >= PASSKEYS_MAX) return "passkey-too-many";
        const user = { id: base64url(new TextEncoder().encode(subject)), name: subject, displayName: subject };
        const more = { rp: { id: "duologue.test", name: "duologue.test" }, user, excludeCredentials: known.map(described) };
        return this.#options(session, true, { ...more, pubKeyCredParams: [{ type: "public-key", alg: -7 }] });
      }
      case "registered": {
        if (!this.#take(session, asked.credential, true)) return "passkey-late";
        if (known.length > 0 && level < 3) return "step-up-needed";
        if ([...this.#of.values()].flat().some(({ credential }) => credential === asked.credential.id)) return "passkey-known";
        const made = { id: random(8), credential: asked.credential.id, name: asked.name || deviceName, made: now, by: device };
        known.push(made);
        for (const other of session._others()) {
          if (other.standing.subject === subject && other.device !== device) this.#news(other, { ...told(made), here: false });
        }
        return { passkey: told(made) };
      }
      case "list":
        return { passkeys: known.map(told) };
      case "remove": {
        if (!isPresent) return "step-up-needed";
        const passkey = known.find(({ id }) => id === asked.id);
        if (!passkey) return "passkey-unknown";
        known.splice(known.indexOf(passkey), 1);
        for (const other of session._others()) other._absent(passkey);
        return { passkey: told(passkey) };
      }
      default:
        throw new TypeError(`Passkeys are asked for ${String(asked.ask)}.`);
    }
  }

  #news(session, registered) {
    const channel = session.channel("passkeys");
    channel.sendJson({ registered }).catch(() => {}); // whoever is gone reads a list
    channel.finish();
  }

  #options(session, isMade, more) {
    const challenge = random(32);
    const waiting = this.#waiting.get(session) ?? [];
    waiting.push({ challenge, isMade });
    this.#waiting.set(session, waiting.slice(-CHALLENGES_MAX));
    return { publicKey: { challenge, timeout: 300_000, userVerification: "required", attestation: "none", ...more } };
  }

  /** Takes out the challenge that was answered, once. */
  #take(session, { response }, isMade) {
    const { challenge } = fromJson(bytesOf(response.clientDataJSON));
    const waiting = this.#waiting.get(session) ?? [];
    const at = waiting.findIndex((one) => one.challenge === challenge);
    return at >= 0 && waiting.splice(at, 1)[0].isMade === isMade;
  }
}

const described = ({ credential }) => ({ type: "public-key", id: credential, transports: ["internal"] });

/** Puts an authenticator into the place of `navigator.credentials`. */
export function authenticator() {
  const kept = new Map(); // id ─► the person's handle
  const own = { refuses: false, asked: 0, remove };
  const clientData = (type, challenge) =>
    new TextEncoder().encode(JSON.stringify({ type, challenge: base64url(challenge), origin: "https://duologue.test", crossOrigin: false }));
  const credential = (id, response) => ({ id, rawId: bytesOf(id), type: "public-key", response });
  const agree = (signal) => {
    own.asked += 1;
    signal?.throwIfAborted();
    if (own.refuses) throw new DOMException("The person has refused.", "NotAllowedError");
  };
  const credentials = {
    create: async ({ publicKey: { challenge, user, excludeCredentials }, signal }) => {
      agree(signal);
      if (excludeCredentials.some(({ id }) => kept.has(base64url(id)))) throw new DOMException("It is there already.", "InvalidStateError");
      const id = random(16);
      kept.set(id, user.id);
      const clientDataJSON = clientData("webauthn.create", challenge);
      return credential(id, { clientDataJSON, attestationObject: Uint8Array.of(0xa0), getTransports: () => ["internal"] });
    },
    get: async ({ publicKey: { challenge, allowCredentials }, signal }) => {
      agree(signal);
      const id = allowCredentials.map(({ id }) => base64url(id)).find((id) => kept.has(id));
      if (!id) throw new DOMException("There is none of these.", "NotAllowedError");
      const clientDataJSON = clientData("webauthn.get", challenge);
      return credential(id, { clientDataJSON, authenticatorData: new Uint8Array(37), signature: Uint8Array.of(0), userHandle: kept.get(id) });
    },
  };
  globalThis.navigator ??= {}; // Node.js 20 has none
  const before = Object.getOwnPropertyDescriptor(navigator, "credentials");
  Object.defineProperty(navigator, "credentials", { value: credentials, configurable: true });
  function remove() {
    if (before) Object.defineProperty(navigator, "credentials", before);
    else delete navigator.credentials;
  }
  return own;
}
