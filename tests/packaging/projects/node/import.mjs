import { connect } from "duologue";
import { fileIdentity } from "duologue/node";
import WebSocket from "ws";

import { echo } from "./echo.mjs";

console.log(`echoed: ${await echo(connect, fileIdentity, WebSocket)}`);
