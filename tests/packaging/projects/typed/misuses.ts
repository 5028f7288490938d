// What the compiler must refuse. A line that it accepts is an error itself: nothing was there to expect.

import { connect } from "duologue";

import type { Protocol, Say } from "./protocol.d.ts";

export async function misuses(): Promise<void> {
  const link = connect<Protocol>();

  // 1. A service that the server does not have.
  // @ts-expect-error
  await link.requestJson("ad", { a: 40, b: 2 });

  // 2. A service that does not answer requests.
  // @ts-expect-error
  await link.requestJson("chat", { text: "hello", mood: null });

  // 3. A field of another type.
  // @ts-expect-error
  const sum = await link.requestJson("add", { a: 40, b: "2" });

  // 4. An answer that may be none, taken for one.
  // @ts-expect-error
  sum.toFixed(0);

  // 5. A field left out.
  // @ts-expect-error
  await link.channel("chat").sendJson({ text: "hello" });

  // 6. A word that the server's enum does not have.
  // @ts-expect-error
  const said: Say = { text: "hello", mood: "angry" };

  // 7. What the server says, said by the page.
  // @ts-expect-error
  await link.channel("chat").sendJson({ text: said.text, mood: null, at: 0, bytes: [] });

  // 8. A field of what is received that is not there.
  // @ts-expect-error
  for await (const { from } of link.channel("chat").json()) console.log(from);
}
