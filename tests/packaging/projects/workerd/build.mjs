// As wrangler bundles: the condition of workerd, and modules of wasm left beside the script.

import { build } from "esbuild";

await build({
  entryPoints: ["worker.js"],
  bundle: true,
  format: "esm",
  outdir: "dist",
  conditions: ["workerd", "worker"],
  loader: { ".wasm": "copy" },
  assetNames: "[name]",
});
