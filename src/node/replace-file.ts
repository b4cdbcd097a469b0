// A file that takes the place of another: its readers, and whoever starts after a crash, find the old content or the new.

import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes `file` anew, mode 0600, on disk when this settles; folders that are missing are made. A leftover of a crash is
 * cleared away. Throws what the file system says; the file is then as it was.
 */
export async function replaceFile(file: string, content: string | Uint8Array): Promise<void> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const written = `${file}.new`;
  await rm(written, { force: true }); // and no link is followed that somebody has put there
  try {
    await using handle = await open(written, 'wx', 0o600);
    await handle.writeFile(content);
    await handle.sync();
    await rename(written, file);
  } catch (error) {
    await rm(written, { force: true });
    throw error;
  }
  await using directory = await open(folder, 'r');
  await directory.sync();
}
