/**
 * The path report: what this page knows of its connection outside the seal, beside what the server saw of it. Loaded only where it is
 * asked for.
 *
 *   { form, tls } ─► the server's service `path` ─► { host, origin, form, headers, … } ─► what differs
 *
 * What one end does not know differs in nothing: a page never sees a certificate, nor its own address. native/src/path.rs is the same in
 * Rust.
 */

import { lineUrl } from "./surroundings.js";

const isHost = (opened, seen) => {
  const plain = (host) => host.toLowerCase();
  const [one, other] = [plain(opened), plain(seen)];
  return one === other || [":443", ":80"].some((port) => one + port === other || other + port === one);
};

/** Names of what somebody between the two has rewritten. */
export function compare(known, seen) {
  const tls = [known.tls, seen.tls];
  const differs = {
    host: seen.host === undefined || !isHost(known.host, seen.host),
    origin: (seen.origin ?? "") !== known.origin,
    form: known.form === "m1-in-request" && seen.form === "m1-as-message",
    headers: seen.headers.length > 0,
    "tls-version": !tls.includes(undefined) && tls.includes("none") && tls[0] !== tls[1],
  };
  return Object.keys(differs).filter((name) => differs[name]);
}

const text = (value) => (typeof value === "string" ? value : undefined);

export async function report(link) {
  const url = lineUrl(link._url);
  const known = {
    host: url.host,
    origin: globalThis.location?.origin ?? "",
    form: link._form,
    tls: url.protocol === "wss:" ? "some" : "none",
  };
  const told = await link.requestJson("path", { form: known.form, tls: known.tls });
  const [host, origin, address, addressFrom] = [told.host, told.origin, told.address, told.addressFrom].map(text);
  const [form, tls, certificate] = [told.form, told.tls, told.certificate].map(text);
  const headers = Object.freeze((told.headers ?? []).map(String));
  const seen = { host, origin, address, addressFrom, form, headers, tls, certificate, ownProxy: Boolean(told.ownProxy) };
  return Object.freeze({ known: Object.freeze(known), seen: Object.freeze(seen), differs: Object.freeze(compare(known, seen)) });
}
