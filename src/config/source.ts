// A configuration file → its text, or the one reason why it is none.

import { closeSync, openSync, readSync } from 'node:fs';
import { ConfigError, codeOf, type ErrorCode } from '../errors.ts';

interface Position {
  readonly line: number;
  readonly column: number;
}

/** No configuration is this large: 10,000 peers take 2 MiB. What is larger is a mistake, and is not parsed. */
const SOURCE_LIMIT_BYTES = 4 * 1024 * 1024;

/** Reads UTF-8 text, with or without a byte order mark. Throws a `ConfigError` that names the file. */
export function readSource(file: string): string {
  const bytes = readSourceBytes(file);
  const zero = bytes.indexOf(0);
  if (zero !== -1) {
    throw problemAt(file, 'ERR_CONFIG_ENCODING', 'this is a binary file: it has a byte of value 0', {
      hint: 'a configuration is YAML text in UTF-8',
      at: positionOf(bytes.toString('latin1', 0, zero)),
    });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    // Decoded again with marks in place of what is wrong, the first mark is where.
    const text = bytes.toString('utf8');
    throw problemAt(file, 'ERR_CONFIG_ENCODING', 'this is no UTF-8 text', {
      hint: 'save the file in UTF-8',
      at: positionOf(text.slice(0, text.indexOf('\u{fffd}'))),
      cause,
    });
  }
}

/** The bytes of a file that holds secrets beside text: whoever asked wipes them. Throws a `ConfigError` that names the file. */
export function readSourceBytes(file: string): Buffer {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (cause) {
    throw unreadable(file, cause);
  }
  try {
    return readUpToLimit(fd, file);
  } catch (cause) {
    throw cause instanceof ConfigError ? cause : unreadable(file, cause);
  } finally {
    closeSync(fd);
  }
}

/** Whatever size the file claims: a pipe, such as `<(…)` of a shell, claims none. */
function readUpToLimit(fd: number, file: string): Buffer {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.alloc(64 * 1024);
    const count = readSync(fd, chunk);
    if (count === 0) return Buffer.concat(chunks, length);
    chunks.push(chunk.subarray(0, count));
    length += count;
    if (length > SOURCE_LIMIT_BYTES) throw tooLarge(file);
  }
}

function tooLarge(file: string): ConfigError {
  const message = `the file is larger than ${SOURCE_LIMIT_BYTES / 1024 / 1024} MiB, which no configuration is`;
  return problemAt(file, 'ERR_CONFIG_SIZE', message, { hint: 'name a ringfence YAML file' });
}

function unreadable(file: string, cause: unknown): ConfigError {
  const code = codeOf(cause);
  const messages: Record<string, readonly [message: string, hint: string]> = {
    ENOENT: [
      'there is no such file',
      file.endsWith('.conf')
        ? 'name the file with its folder; the name of an interface alone stands for one in /etc/wireguard'
        : '`ringfence init FILE` writes one',
    ],
    EISDIR: ['this is a directory', 'name the YAML file itself'],
    EACCES: ['permission to read it is denied', 'run as the user who owns the file, or as root'],
    ENOTDIR: ['a part of its path is no directory', 'check the path'],
    ELOOP: ['its link leads in a circle', 'check the path'],
  };
  const [message, hint] = messages[code] ?? [
    `the file cannot be read (${code || 'invalid name'})`,
    'check the path',
  ];
  return problemAt(file, 'ERR_CONFIG_FILE', message, { hint, cause });
}

/** A problem of the file as a whole stands at its beginning. */
function problemAt(
  file: string,
  code: ErrorCode,
  message: string,
  details: { readonly hint: string; readonly at?: Position; readonly cause?: unknown },
): ConfigError {
  const { line, column } = details.at ?? { line: 1, column: 1 };
  return new ConfigError(
    [{ code, message, hint: details.hint, place: { file, line, column, path: '' } }],
    details.cause,
  );
}

/** The position right after a text. */
function positionOf(before: string): Position {
  const lines = before.split('\n');
  return { line: lines.length, column: (lines.at(-1) ?? '').length + 1 };
}
