// Reads the committed core, which lies beside this file. A program that carries it elsewhere, such as a single executable,
// puts a module of its own in the place of this one.

import { readFileSync } from 'node:fs';

/** The bytes of `wireguard.wasm`. */
export function readCore(): Uint8Array {
  return readFileSync(new URL('./wireguard.wasm', import.meta.url));
}
