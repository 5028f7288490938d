/**
 * A file as the keeper of an identity, in Node, Deno and Bun.
 *
 *   store(bytes) ─► FILE.<random>, mode 0600, on the disk ─► renamed to FILE
 *
 * Whoever reads the file is this device. One process at a time may use it: of two, the later keeps what it knows. Within a
 * process a file has one keeper, whose changes wait for each other.
 */

import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const keepers = new Map();

export function fileIdentity(file) {
  const path = resolve(typeof file === "string" ? file : fileURLToPath(file.href));
  if (!keepers.has(path)) keepers.set(path, keeper(path));
  return keepers.get(path);
}

function keeper(path) {
  return {
    async load() {
      try {
        return new Uint8Array(await readFile(path));
      } catch (error) {
        if (error.code === "ENOENT") return undefined;
        throw error;
      }
    },
    async store(bytes) {
      const folder = dirname(path);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const next = `${path}.${randomUUID()}`;
      try {
        const handle = await open(next, "wx", 0o600);
        try {
          await handle.writeFile(bytes);
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(next, path);
      } catch (error) {
        await rm(next, { force: true });
        throw error;
      }
    },
  };
}
