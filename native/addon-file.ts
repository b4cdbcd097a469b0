// Loads the addon that lies in this package: built for this machine, or prebuilt. A program that carries it elsewhere, such
// as a single executable, puts a module of its own in the place of this one.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** What src/addon.cc exports; addon.ts has its type. */
export function loadAddon(): unknown {
  const load: (packageDirectory: string) => unknown = createRequire(import.meta.url)('node-gyp-build');
  return load(fileURLToPath(new URL('.', import.meta.url)));
}
