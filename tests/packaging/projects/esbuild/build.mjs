import { cpSync } from "node:fs";

import { build } from "esbuild";

const { warnings } = await build({ entryPoints: ["main.js"], bundle: true, minify: true, format: "esm", outdir: "dist" });
if (warnings.length > 0) throw new Error(JSON.stringify(warnings));
cpSync("index.html", "dist/index.html");
