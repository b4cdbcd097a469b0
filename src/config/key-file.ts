// Files that hold one key each: who may read them, what must be in them, how they are made.

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { codeOf, type ErrorCode } from '../errors.ts';
import { decodeKey, encodeKey, wipe } from './key.ts';
import { writeNewFile } from './new-file.ts';

/** A key, a line end, and some white space that an editor may have left. */
const KEY_FILE_LIMIT_BYTES = 128;

const OWNER_HINT = 'run as the user who owns it, or as root';
const PATH_HINT = 'check the path, which counts from the folder of the configuration file';

/** What reading a key file gave: the key, which the caller wipes, or what is wrong with the file. */
export type KeyFileResult =
  | { readonly ok: true; readonly key: Uint8Array }
  | { readonly ok: false; readonly code: ErrorCode; readonly problem: string; readonly hint: string };

/** Reads a key file. A link is followed, and what it leads to is judged. Never throws for what a file can be. */
export function readKeyFile(path: string): KeyFileResult {
  let fd: number;
  try {
    // Not blocking: opening a pipe would wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    return unreadable(error);
  }
  const buffer = new Uint8Array(KEY_FILE_LIMIT_BYTES + 1);
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) return wrongContent('it is a directory');
    if (!stat.isFile()) return wrongContent('it is no regular file');
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
      return {
        ok: false,
        code: 'ERR_CONFIG_KEY_FILE_MODE',
        problem: `others can get at it: its mode is ${mode}`,
        hint: `chmod 600 ${shellWord(path)}`,
      };
    }
    return keyOf(buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0)));
  } catch (error) {
    return unreadable(error);
  } finally {
    wipe(buffer);
    closeSync(fd);
  }
}

/**
 * Makes a key file of mode 0600, on disk when this returns. Throws what the file system says: `EEXIST` where anything is
 * in the way, also a link.
 */
export function writeKeyFile(path: string, key: Uint8Array): void {
  const text = encodeKey(key);
  try {
    writeNewFile(path, text, 0o600);
  } finally {
    wipe(text);
  }
}

/** A path as one word of a shell command. */
export function shellWord(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function keyOf(content: Uint8Array): KeyFileResult {
  if (content.length === 0) return wrongContent('it is empty');
  const key = content.length > KEY_FILE_LIMIT_BYTES ? null : decodeKey(content);
  if (key === null) return wrongContent('it does not hold one key: 44 characters of base64 and a line end');
  if (key.every((byte) => byte === 0)) return wrongContent('its key is all zeros, which is no key');
  return { ok: true, key };
}

function wrongContent(problem: string): KeyFileResult {
  const hint = 'make one by: umask 077; ringfence genkey > FILE (or genpsk, for a preshared key)';
  return { ok: false, code: 'ERR_CONFIG_KEY_FILE', problem, hint };
}

function unreadable(error: unknown): KeyFileResult {
  const code = codeOf(error);
  if (code === 'ENOENT') return wrongContent('there is no such file');
  const causes: Record<string, readonly [problem: string, hint: string]> = {
    EACCES: ['permission to read it is denied', OWNER_HINT],
    EPERM: ['permission to read it is denied', OWNER_HINT],
    ELOOP: ['its link leads in a circle', PATH_HINT],
    ENOTDIR: ['a part of its path is no directory', PATH_HINT],
    ENAMETOOLONG: ['its name is too long', PATH_HINT],
  };
  const [problem, hint] = causes[code] ?? [`it cannot be read (${code || 'invalid name'})`, PATH_HINT];
  return { ok: false, code: 'ERR_CONFIG_KEY_FILE', problem, hint };
}
