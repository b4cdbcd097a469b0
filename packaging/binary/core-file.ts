// The core in the single executable; stands in the place of wasm/core-file.ts.

import { getRawAsset } from 'node:sea';

export function readCore(): Uint8Array {
  return new Uint8Array(getRawAsset('wireguard.wasm'));
}
