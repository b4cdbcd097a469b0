// The addon in the single executable; stands in the place of native/addon-file.ts. The loader wants a file, so the asset is
// written to one, opened and removed at once: it is loaded through the descriptor, and nothing is left, also on kill -9.

import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { getRawAsset } from 'node:sea';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';

/** The descriptor of the removed file, which lanes load the addon from as well: they have its number as environment data. */
const DESCRIPTOR = 'ringfence:addon';

export function loadAddon(): unknown {
  const opened = getEnvironmentData(DESCRIPTOR);
  if (typeof opened === 'number') return load(opened);
  const failures: string[] = [];
  for (const folder of [tmpdir(), '/dev/shm', '/run', '/var/tmp']) {
    try {
      const fd = openRemoved(folder);
      try {
        const addon = load(fd);
        setEnvironmentData(DESCRIPTOR, fd);
        return addon;
      } catch (error) {
        closeSync(fd);
        throw error;
      }
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  throw new Error(`no folder takes a file to load the addon from: ${failures.join('; ')}`);
}

/** A descriptor of the addon in a file that has no name any more; only its owner could ever open it. */
function openRemoved(parent: string): number {
  const folder = mkdtempSync(join(parent, 'ringfence-'));
  try {
    const file = join(folder, 'tuntap2.node');
    writeFileSync(file, new Uint8Array(getRawAsset('tuntap2.node')), { mode: 0o500, flag: 'wx' });
    return openSync(file, 'r');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Fails where the folder is mounted `noexec`. */
function load(fd: number): unknown {
  const module = { exports: {} };
  process.dlopen(module, `/proc/self/fd/${fd}`, constants.dlopen.RTLD_LAZY);
  return module.exports;
}
