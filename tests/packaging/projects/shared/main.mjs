// Where there is a WebSocket already: Bun, Deno, Node.js from 22 on.

import process from "node:process";

import { connect } from "duologue";
import { fileIdentity } from "duologue/node";

import { echo } from "./echo.mjs";

console.log(`echoed: ${await echo(connect, fileIdentity)}`);
process.exit(0);
