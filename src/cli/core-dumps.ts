// What a core dump of this process would hold.

import { writeFileSync } from 'node:fs';

/** Bits of mappings that the kernel writes, core(5): none. What it forks has the same. */
const NOTHING = '0';

/** Keys are in memory while a node runs; from now on a core dump has registers and no memory. */
export function keepMemoryOutOfCoreDumps(): void {
  try {
    writeFileSync('/proc/self/coredump_filter', NOTHING);
  } catch {
    // A kernel without core dumps has no such file, and nothing to keep out.
  }
}
