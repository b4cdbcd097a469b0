// What a section `peers.NAME` says of the policy.

import { z } from 'zod';
import { keyFacts, list } from '../facts.ts';
import { accessRowSchema, reachRowSchema } from './rows.ts';

/** A name that is looked up in another section. */
export function nameOf(description: string, example?: string) {
  return z.string().register(keyFacts, {
    description,
    expected: 'a name',
    code: 'ERR_CONFIG_NAME',
    ...(example === undefined ? {} : { example }),
  });
}

/** Keys of `peers.NAME`. They mean something only in a file with a section `firewall`, and are refused in others. */
export const peerAccess = {
  profile: nameOf(
    'The profile of the peer: one of `firewall.profiles`. Without it the peer may reach only what `allow` and its networks grant.',
    'std',
  ).optional(),
  allow: list(accessRowSchema, {
    description: 'What the peer may reach, beside what its profile and networks grant.',
    expected: 'a list of rows, as in [{to: 10.5.0.0/24, ports: [tcp/443]}]',
    example: '[{to: 10.5.0.0/24, ports: [tcp/8000-8010]}]',
  }).default([]),
  deny: list(accessRowSchema, {
    description: 'What the peer may not reach, whatever else grants it.',
    expected: 'a list of rows, as in [{to: 10.5.0.9}]',
    example: '[{to: 10.5.0.9}]',
  }).default([]),
  reachable_from: list(reachRowSchema, {
    description:
      'Who beyond the overlay, as in the LAN of this host, may open flows to the peer and the networks behind it. This host itself may.',
    expected: 'a list of rows, as in [{from: 192.168.1.0/24, ports: [tcp/22]}]',
    example: '[{from: 192.168.1.0/24, ports: [tcp/22]}]',
  }).default([]),
  route_via: nameOf(
    'The site whose internet the peer uses, in place of that of this host. The site has `exit_relay: {consume: true}`.',
    'cellb',
  ).optional(),
};
