// A key that is being changed, in a sentence: for the table and for the page.

import { renderName } from '../config/quote.ts';
import type { RotationStatus } from './target.ts';
import { renderAge } from './units.ts';

/** So many names; the rest is counted. */
const SHOWN_PEERS = 5;

/** `preshared key with bob, generation 3: both keys accepted for 20 s, the new one not used yet by bob`. */
export function renderRotation(rotation: RotationStatus): string {
  const { generation, sinceSeconds, state, unconfirmed } = rotation;
  const which = `${subject(rotation)}${generation === null ? '' : `, generation ${generation}`}`;
  if (state === 'scheduled') {
    return `${which}: begins at ${new Date((sinceSeconds ?? 0) * 1000).toISOString()}`;
  }
  const age = sinceSeconds === null ? '' : ` for ${renderAge(Math.max(0, Date.now() / 1000 - sinceSeconds))}`;
  const left =
    state === 'confirmed'
      ? 'the new one is used, and the old one goes'
      : `the new one not used yet by ${names(unconfirmed)}`;
  return `${which}: both keys accepted${age}, ${left}`;
}

function subject({ what, peer }: RotationStatus): string {
  const name = renderName(peer ?? '');
  switch (what) {
    case 'identity':
      return 'key pair of this node';
    case 'psk':
      return `preshared key with ${name}`;
    case 'peer':
      return `key pair of ${name}`;
    default:
      return what satisfies never;
  }
}

function names(peers: readonly string[]): string {
  const more = peers.length - SHOWN_PEERS;
  const shown = peers.slice(0, SHOWN_PEERS).map(renderName).join(', ');
  return more > 0 ? `${shown} and ${more} more` : shown;
}
