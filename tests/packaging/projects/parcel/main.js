// Parcel as it comes: it resolves by `main`, `module` and folders, and does not read `exports`.

import { connect } from "duologue";

import { report } from "./report.js";

const own = new Worker(new URL("./own-worker.js", import.meta.url), { type: "module" });
report(connect, [["in a worker", true], ["in a shared worker", "shared"], ["in a worker of its own", own]]);
