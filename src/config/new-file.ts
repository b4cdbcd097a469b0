// A file that was not there before: made whole or not at all, and on disk when the call returns.

import { closeSync, constants, fchmodSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Throws what the file system says: `EEXIST` where anything is in the way, be it a link that leads nowhere. */
export function writeNewFile(path: string, content: Uint8Array, mode: number): void {
  const fd = openSync(path, 'wx', mode);
  try {
    fchmodSync(fd, mode); // whatever the umask says
    for (let offset = 0; offset < content.length; ) offset += writeSync(fd, content, offset);
    fsyncSync(fd);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  syncFolder(dirname(path));
}

/** The name of a new file is on disk only when its folder is. */
function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
