// A saved result, read back. The file may be anybody's: it is bounded, and judged by the schema before anything uses it.

import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { codeOf, messageOf, RingfenceError } from '../errors.ts';
import { type Result, resultSchema } from './result.ts';

/** More than the most samples that the schema lets pass. */
const MAXIMUM_BYTES = 256 * 1024 * 1024;

/** Reads the result that `path` holds. Throws RingfenceError `ERR_BENCH_RESULT`, with the first thing that is wrong. */
export function loadResult(path: string): Result {
  const parsed = resultSchema.safeParse(parseJson(path, readText(path)));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = z.core.toDotPath(issue?.path ?? []);
  throw unusable(path, `${place === '' ? '' : `${place}: `}${issue?.message ?? 'it is no result'}`);
}

function readText(path: string): string {
  try {
    const fd = openSync(path, 'r');
    try {
      const status = fstatSync(fd);
      if (!status.isFile()) throw unusable(path, 'it is no file');
      if (status.size > MAXIMUM_BYTES) throw unusable(path, 'it is larger than any result');
      return readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    if (cause instanceof RingfenceError) throw cause;
    throw unusable(path, codeOf(cause) === 'ENOENT' ? 'there is no such file' : messageOf(cause), cause);
  }
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw unusable(path, 'it is not JSON', cause);
  }
}

function unusable(path: string, reason: string, cause?: unknown): RingfenceError {
  return new RingfenceError('ERR_BENCH_RESULT', `${path} is no result of the benchmark: ${reason}`, {
    hint: 'name a file that `ringfence bench` has written, of this version',
    cause,
  });
}
