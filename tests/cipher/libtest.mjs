/**
 * Runs a test program that cargo has compiled for wasm32-unknown-unknown, in Node: as cargo's runner for that target.
 *
 *   node libtest.mjs deps/kats-….wasm ─► exit code 0, or a trap where a test fails
 *
 * There is no standard output on this target, so that a program says nothing but that; a failed test ends it.
 */

import { readFile } from "node:fs/promises";
import { argv, stderr } from "node:process";

const program = argv[2];
const { instance } = await WebAssembly.instantiate(await readFile(program));
const code = instance.exports.main(0, 0);
if (code !== 0) throw new Error(`${program} ends with ${code}`);
stderr.write(`${program}: passed\n`);
