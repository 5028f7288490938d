// Opens a line, has something echoed, and again as the device that is known by then.

import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export async function echo(connect, fileIdentity, WebSocket) {
  const { DUOLOGUE_URL: url, DUOLOGUE_INVITE: invite } = process.env;
  const folder = await mkdtemp(join(tmpdir(), "duologue-identity-"));
  try {
    const file = join(folder, "state", "identity.json");
    const said = await once(connect, { url, invite, identity: fileIdentity(file), WebSocket });
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal(await once(connect, { url, identity: fileIdentity(file), WebSocket }), said);
    return said;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function once(connect, options) {
  const link = connect(options);
  // As much as needs many records: what a socket reads late would show.
  const bytes = Uint8Array.from({ length: 1_000_000 }, (_, index) => index * 7);
  const large = await link.request("echo", bytes, { timeout: 20_000 });
  assert.equal(large.length, bytes.length);
  assert.ok(large.every((byte, index) => byte === bytes[index]), "what came back is not what was sent");
  const answer = await link.request("echo", "hello", { timeout: 20_000 });
  link.close();
  await link.closed;
  return new TextDecoder().decode(answer);
}
