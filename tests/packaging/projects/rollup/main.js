import { connect } from "duologue/inline";

import { report } from "./report.js";

report(connect);
