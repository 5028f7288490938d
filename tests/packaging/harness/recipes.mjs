/** The recipes of docs/RECIPES.md as files: a block of code whose first line is a comment with the file's name. */

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const document = join(dirname(fileURLToPath(import.meta.url)), "../../../docs/RECIPES.md");
const BLOCK = /^```\w+\n(?:\/\/|<!--) (\S+\.\w+)(?: -->)?\n([^]*?)^```$/gm;

/** Writes the recipes of these names into a folder. */
export function recipes(folder, names) {
  const found = new Map([...readFileSync(document, "utf8").matchAll(BLOCK)].map(([, name, text]) => [name, text]));
  for (const name of names) {
    if (!found.has(name)) throw new Error(`docs/RECIPES.md has no ${name}, only ${[...found.keys()].join(", ")}`);
    writeFileSync(join(folder, name), found.get(name));
  }
}
