// What is declared without the DOM's types, and with those of others: the whole surface that names them.

import { connect, type BidirectionalStream, type Channel, type CloseInfo, type FreshInfo, type Link } from "duologue";
import { connect as connectInline } from "duologue/inline";
import { fileIdentity } from "duologue/node";
import { useLink, useMessages } from "duologue/react";
import { answer, createServer, http, memoryIdentity, stream, type Session } from "duologue/testing";

export async function uses(): Promise<void> {
  const link: Link = connect({ url: "wss://example.org/line", identity: fileIdentity("identity.json") });
  link.addEventListener("statechange", (event) => void event.type.length);
  link.addEventListener("fresh", ({ detail }) => fresh(detail), { once: true });
  link.addEventListener("anything", { handleEvent: () => {} });
  link.removeEventListener("anything", null);
  const desk: Channel = link.channel("desk");
  for await (const message of desk) void message.length;
  const stream: BidirectionalStream = await link.createBidirectionalStream("echo");
  const writer = stream.writable.getWriter();
  await writer.write("text");
  await writer.close();
  const { value } = await stream.readable.getReader().read();
  const length: number | undefined = value?.length;
  const response = await link.fetch("/items", { method: "POST", body: "text", headers: { "content-type": "text/plain" } });
  const status: number = response.status + (await response.text()).length + (length ?? 0);
  const { code }: CloseInfo = await link.closed;
  fresh({ code: "session-expired", reason: `${code} ${status}` });
  connectInline({ url: "wss://example.org/line", worker: "shared" }).close();
  useMessages(useLink(() => link).link?.channel("desk"));
}

export async function tests(link: Link): Promise<void> {
  const server = await createServer({ services: { echo: answer((message) => message), copy: stream(({ taken }) => void taken) } });
  server.serve("http", http(async (request) => link.fetch(request.url)));
  server.serve("news", async (channel, call) => channel.sendJson([call.device, call.session.state]));
  connect(server.options({ deviceName: "a test", identity: memoryIdentity() })).close();
  const session: Session = await server.session();
  server.refuse("device-revoked");
  // @ts-expect-error no code
  server.refuse("no-such-code");
  session.close();
}

export async function misuses(link: Link): Promise<void> {
  const stream = await link.createBidirectionalStream("echo");
  const { value } = await stream.readable.getReader().read();
  // @ts-expect-error what is read are bytes, not anything
  const text: string | undefined = value;
  // @ts-expect-error an address is none of the methods
  await link.fetch({ method: "GET" });
  // @ts-expect-error no number is sent
  await stream.writable.getWriter().write(text?.length ?? 0);
}

function fresh(info: FreshInfo): void {
  void info.reason;
}
