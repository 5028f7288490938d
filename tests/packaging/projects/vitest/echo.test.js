import { connect } from "duologue";
import { fileIdentity } from "duologue/node";
import { expect, test } from "vitest";
import WebSocket from "ws";

import { echo } from "./echo.mjs";

test("echo", { timeout: 30_000 }, async () => {
  expect(await echo(connect, fileIdentity, WebSocket)).toBe("hello");
});
