// What the documentation shows, as the compiler sees it: all of this is right.

import { BidirectionalStream, Channel, DuologueError, connect, parseInvite, type CloseInfo, type DeviceInfo, type DoorCode, type IdentityStore, type Standing } from "duologue";
import { connect as connectInline } from "duologue/inline";
import { fileIdentity } from "duologue/node";
import { useChannel, useLink, useMessages } from "duologue/react";

interface Protocol {
  add: { request: { a: number; b: number }; response: number };
  chat: { send: { text: string }; receive: { from: string; text: string } };
}

export async function loose(): Promise<void> {
  const link = connect({ invite: location.href });
  await link.ready;
  const answer: Uint8Array = await link.request("echo", "hello", { timeout: 1_000, signal: AbortSignal.timeout(1_000) });
  const anything: unknown = await link.requestJson("any", { a: answer.length });
  const desk: Channel = link.channel("desk");
  await desk.send("Is anybody there?");
  for await (const message of desk) console.log(new TextDecoder().decode(message), anything);
  const stream: BidirectionalStream = await link.createBidirectionalStream("echo");
  stream.addEventListener("progress", () => console.log(stream.taken));
  link.addEventListener("fresh", ({ detail }) => console.log(detail.code));
  const { code, byPeer }: CloseInfo = await link.closed;
  console.log(code, byPeer, await parseInvite(location.href));
}

export async function typed(): Promise<number> {
  const link = connect<Protocol>({ url: "wss://example.org/line", worker: true });
  const chat = link.channel("chat");
  await chat.sendJson({ text: "hello" });
  for await (const { from, text } of chat.json()) console.log(from.length, text.length);
  try {
    return await link.requestJson("add", { a: 40, b: 2 });
  } catch (error) {
    if (error instanceof DuologueError && error.delivery === "not sent") return 0;
    throw error;
  }
}

export function kept(): void {
  const memory: IdentityStore = { load: async () => undefined, store: async (bytes) => void bytes.length };
  connectInline({ url: "wss://example.org/line", identity: memory }).close();
  connect({ url: "wss://example.org/line", identity: fileIdentity("identity.json"), WebSocket }).close();
}

export async function signedIn(): Promise<void> {
  const token = async ({ nonce, proof }: DeviceInfo) => {
    const response = await fetch("/my-login", { headers: { nonce, dpop: await proof({ htm: "GET", htu: "/my-login" }) } });
    return response.ok ? response.text() : undefined;
  };
  const link = connect({ account: "ada", token });
  link.addEventListener("standing", ({ detail }) => console.log(detail.level >= 2 ? detail.subject : "nobody", detail.until));
  link.addEventListener("tokenerror", ({ detail }) => console.warn(words(detail.code), detail.reason));
  await link.ready;
  const { level }: Standing = link.standing!;
  if (level > 1) await link.signOut();
  connect({ token: "eyJ" }).close();
}

export async function present(button: HTMLButtonElement): Promise<void> {
  const link = connect();
  link.addEventListener("passkey", ({ detail }) => console.warn("registered elsewhere", detail.name, detail.made.toISOString()));
  button.addEventListener("click", async () => {
    try {
      if ((await link.passkeys.list()).length === 0) await link.passkeys.register({ name: "this computer" });
      const { level, subject }: Standing = await link.stepUp({ signal: AbortSignal.timeout(60_000) });
      console.log(level, subject);
    } catch (error) {
      if (error instanceof DuologueError && error.code === "login-too-old") location.assign("/login");
      else throw error;
    }
  });
}

function words(code: DoorCode | "no-token"): string {
  return code === "token-expired" ? "sign in again" : code;
}

export function Component(): number {
  const view = useLink(() => connect<Protocol>(), []);
  const chat = useChannel(view, "chat");
  useEffectLike(() => void chat?.sendJson({ text: view.state }));
  const raw: readonly Uint8Array[] = useMessages(chat);
  const texts: readonly string[] = useMessages(chat, { limit: 10, decode: (message) => new TextDecoder().decode(message) });
  return raw.length + texts.length;
}

declare function useEffectLike(work: () => void): void;
