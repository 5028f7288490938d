import { cpSync } from "node:fs";
import { resolve } from "node:path";

import webpack from "webpack";

const stats = await new Promise((done, fail) =>
  webpack({ mode: "production", entry: "./main.js", output: { path: resolve("dist") } }, (error, result) => (error ? fail(error) : done(result))),
);
if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString());
cpSync("index.html", "dist/index.html");
