import "./trusted.js";

import { connect } from "duologue";

import { report } from "./report.js";

const violations = [];
addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => violations.push([effectiveDirective, blockedURI]));

// Each where it was asked for: what the policy blocks would go on elsewhere.
const contexts = [];
report(
  (options) => {
    const link = connect(options);
    link.closed.then(() => contexts.push(link.context));
    return link;
  },
  [["in a worker", true], ["in a shared worker", "shared"]],
  () => ({ contexts, violations }),
);
