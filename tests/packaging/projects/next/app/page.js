"use client";

import { connect } from "duologue";
import { useEffect } from "react";

export default function Page() {
  useEffect(() => {
    import("../report.js").then(({ report }) => report(connect, [["in a worker", true], ["in a shared worker", "shared"]]));
  }, []);
  return <p>Next</p>;
}
