// What a program in the background tells the one that started it. Twin: background.ts.

import { writeSync } from 'node:fs';

/** Names the descriptor of the pipe in the environment of the one in the background. */
export const PIPE_VARIABLE = 'RINGFENCE_READY_FD';
/** Anything else is why it ends. */
export const READY = 'ready\n';

/** Tells whoever started us in the background, if somebody did, that all is there. Throws when nobody waits any more. */
export function announceReady(): void {
  announce(READY);
}

/** Tells whoever started us in the background, if somebody did and still waits, why we end. */
export function announceFailure(text: string): void {
  try {
    announce(text);
  } catch {
    // Ready long ago, or nobody waits.
  }
}

function announce(text: string): void {
  const pipe = process.env[PIPE_VARIABLE];
  if (pipe === undefined) return;
  writeSync(Number(pipe), text);
}
