// What the compiler must refuse. A line that it accepts is an error itself: nothing was there to expect.

import { connect } from "duologue";

interface Protocol {
  add: { request: { a: number; b: number }; response: number };
  chat: { send: { text: string }; receive: { from: string; text: string } };
}

const link = connect<Protocol>();

// 1. A service that the protocol does not have.
// @ts-expect-error
link.channel("chatt");

// 2. A request of another shape.
// @ts-expect-error
void link.requestJson("add", { a: 40, b: "2" });

// 3. An answer taken for something else.
// @ts-expect-error
export const text: Promise<string> = link.requestJson("add", { a: 40, b: 2 });

// 4. An object sent as bytes.
// @ts-expect-error
void link.channel("chat").send({ text: "hello" });

// 5. A token that is none.
// @ts-expect-error
connect({ token: 7 });

// 6. An option that is none, here a timeout of the whole link.
// @ts-expect-error
connect({ timeout: 1_000 });
