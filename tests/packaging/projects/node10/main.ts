// Every entry, by a compiler that does not read `exports`.

import { connect, type ErrorCode, type Link } from "duologue";
import { connect as connectInline } from "duologue/inline";
import { fileIdentity } from "duologue/node";
import { useChannel, useLink, useMessages } from "duologue/react";
import { answerJson, createServer } from "duologue/testing";
import "duologue/worker";

export const open = (): Link => connect({ url: "wss://example.org/line", identity: fileIdentity("identity.json") });
export const inline = (): Link => connectInline({ url: "wss://example.org/line", signal: AbortSignal.timeout(1_000) });
export const hooks = [useChannel, useLink, useMessages];
export const code: ErrorCode = "invite-used";
export const tested = async (): Promise<Link> =>
  connect((await createServer({ services: { add: answerJson(({ a, b }: { a: number; b: number }) => a + b) } })).options());
