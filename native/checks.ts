// Arguments that cannot be meant are refused here, before a system call, with the codes of Node.js.

import { types } from 'node:util';

export const MAX_U16 = 0xffff;
export const MAX_I32 = 0x7fffffff;
export const MAX_U32 = 0xffffffff;

export function checkBytes(name: string, value: string, least: number, most: number): void {
  checkType(name, value, 'string');
  const length = Buffer.byteLength(value);
  if (length >= least && length <= most) return;
  throw argumentError(RangeError, 'ERR_OUT_OF_RANGE', `${name} has ${length} bytes, not ${least} to ${most}`);
}

export function checkType(
  name: string,
  value: unknown,
  type: 'string' | 'boolean' | 'number' | 'function',
): void {
  if (typeof value !== type || Number.isNaN(value)) {
    throw argumentError(TypeError, 'ERR_INVALID_ARG_TYPE', `${name} is ${String(value)}, not a ${type}`);
  }
}

export function checkWhole(name: string, value: number, lowest: number, highest: number): void {
  if (typeof value !== 'number') {
    throw argumentError(TypeError, 'ERR_INVALID_ARG_TYPE', `${name} is ${String(value)}, not a number`);
  }
  if (!Number.isInteger(value) || value < lowest || value > highest) {
    throw argumentError(
      RangeError,
      'ERR_OUT_OF_RANGE',
      `${name} is ${value}, not a whole number from ${lowest} to ${highest}`,
    );
  }
}

/** `end` is where the column ends that the call will touch. */
export function checkMemory(memory: ArrayBuffer, end: number): void {
  // `instanceof` is the cheap answer; an ArrayBuffer of another realm is asked the slow way.
  if (!(memory instanceof ArrayBuffer) && !types.isArrayBuffer(memory)) {
    throw argumentError(TypeError, 'ERR_INVALID_ARG_TYPE', 'memory is not an ArrayBuffer');
  }
  if (memory.byteLength >= end) return;
  if (memory.byteLength === 0) {
    throw argumentError(
      TypeError,
      'ERR_INVALID_STATE',
      'memory has length 0: it was detached, perhaps by memory.grow(); pass the present memory.buffer',
    );
  }
  throw argumentError(
    RangeError,
    'ERR_OUT_OF_RANGE',
    `the column ends at byte ${end}, behind the memory of ${memory.byteLength} bytes`,
  );
}

export function argumentError(
  Kind: typeof TypeError | typeof RangeError,
  code: string,
  message: string,
): Error {
  return Object.assign(new Kind(message), { code });
}
