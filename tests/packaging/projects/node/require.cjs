const { connect } = require("duologue");
const { fileIdentity } = require("duologue/node");
const WebSocket = require("ws");

import("./echo.mjs").then(async ({ echo }) => console.log(`echoed: ${await echo(connect, fileIdentity, WebSocket)}`));
