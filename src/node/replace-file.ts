// A file that takes the place of another: its readers, and whoever starts after a crash, find the old content or the new.

import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface ReplaceOptions {
  /** 0600 without it. */
  readonly mode?: number;
  /** Looks at what was written before it takes the place; what it throws is thrown, and nothing has changed. */
  readonly check?: (writtenFile: string) => void;
}

/**
 * Makes `file` anew, on disk when this settles; folders that are missing are made. A leftover of a crash is cleared
 * away. Throws what the file system says; the file is then as it was.
 */
export async function replaceFile(
  file: string,
  content: string | Uint8Array,
  { mode = 0o600, check }: ReplaceOptions = {},
): Promise<void> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const written = `${file}.new`;
  await rm(written, { force: true }); // and no link is followed that somebody has put there
  try {
    await using handle = await open(written, 'wx', mode);
    await handle.chmod(mode); // whatever the umask says
    await handle.writeFile(content);
    await handle.sync();
    check?.(written);
    await rename(written, file);
  } catch (error) {
    await rm(written, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

/** Moves a file into the place of another, on disk when this settles. */
export async function moveFile(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncFolder(dirname(to));
}

/** A name is on disk only when its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  await using directory = await open(folder, 'r');
  await directory.sync();
}
