// Files that a command makes for its user: nothing is ever overwritten, and what the system refuses is said in our words.

import { codeOf, RingfenceError, UsageError } from '../errors.ts';

/** Runs what makes the file `path`. Throws `ERR_FILE_EXISTS` if it is there already, `ERR_FILE_WRITE` if it cannot be made. */
export function create(path: string, make: () => void): void {
  try {
    make();
  } catch (cause) {
    const code = codeOf(cause);
    if (code === 'EEXIST') throw inTheWay(path);
    const reason = {
      ENOENT: 'there is no such folder',
      ENOTDIR: 'a part of its path is no folder',
      EACCES: 'permission is denied',
    }[code];
    throw new RingfenceError(
      'ERR_FILE_WRITE',
      `${path} cannot be written: ${reason ?? (code || 'unknown reason')}`,
      {
        hint: 'make the folder first, or name another',
        cause,
      },
    );
  }
}

export function inTheWay(path: string): UsageError {
  return new UsageError('ERR_FILE_EXISTS', `${path} exists already, and nothing was written`, {
    hint: 'name another file, or move this one away',
  });
}
