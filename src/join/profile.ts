// The profile that an invite gives to the new peer: one that the node knows, now and when its file is read again.

import type { NodeConfig } from '../config/schema.ts';
import { NodeError } from '../errors.ts';

/** The names of the profiles, in file order; null where the file has no section `firewall`. */
export function profilesOf({ firewall }: NodeConfig): readonly string[] | null {
  return firewall?.policy.profiles.map(({ id }) => id) ?? null;
}

/**
 * @param inForce what the node runs by
 * @param written what its file says now
 * @throws NodeError `ERR_JOIN_PROFILE` when one of them does not have the profile
 */
export function refuseProfile(profile: string, inForce: NodeConfig, written: NodeConfig): void {
  const [known, present] = [profilesOf(inForce), profilesOf(written)];
  if (known?.includes(profile) && present?.includes(profile)) return;
  const name = JSON.stringify(profile);
  if (present === null) {
    throw new NodeError('ERR_JOIN_PROFILE', `there is no profile ${name}: ${written.file} has no firewall`, {
      hint: 'leave --profile out, or write a section firewall first: without one every peer may reach everything',
    });
  }
  if (present.includes(profile)) {
    throw new NodeError('ERR_JOIN_PROFILE', `the node has not read of the profile ${name} yet`, {
      hint: 'first: ringfence reload',
    });
  }
  throw new NodeError('ERR_JOIN_PROFILE', `${written.file} has no profile ${name}`, {
    hint:
      present.length === 0
        ? 'write it below firewall.profiles first'
        : `its profiles are: ${present.slice(0, MOST_SHOWN).join(', ')}${present.length > MOST_SHOWN ? ', …' : ''}`,
  });
}

const MOST_SHOWN = 20;
