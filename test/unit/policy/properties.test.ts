// What holds of the evaluator whatever the policy says.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Crossing, Evaluator } from '../../../src/policy/evaluate.ts';
import type { AccessRow, Policy, PolicyPeer } from '../../../src/policy/model.ts';
import { anyCrossing, anyPolicy, OWN } from './arbitrary.ts';
import { ip } from './documents.ts';

const packets = fc.array(anyCrossing, { minLength: 8, maxLength: 8 });

function verdicts(policy: Policy, crossings: readonly Crossing[]): string[] {
  const evaluator = new Evaluator(policy, OWN);
  return crossings.map((crossing) => evaluator.judge(crossing).verdict);
}

/** The policy with the rows of each peer changed. */
function withRows(policy: Policy, change: (peer: PolicyPeer) => Partial<PolicyPeer>): Policy {
  return { ...policy, peers: policy.peers.map((peer) => ({ ...peer, ...change(peer) })) };
}

test('a deny row that fits everything leaves nothing of a peer', () => {
  const everything: AccessRow = {
    name: 'no',
    place: { file: '', line: 1, column: 1 },
    to: { kind: 'any' },
    from: null,
    traffic: [],
  };
  fc.assert(
    fc.property(anyPolicy, packets, (policy, crossings) => {
      const evaluator = new Evaluator(
        withRows(policy, ({ deny }) => ({ deny: [...deny, everything] })),
        OWN,
      );
      for (const crossing of crossings) {
        const { verdict, stage, subject } = evaluator.judge(crossing);
        if (subject.kind === 'peer') expect([verdict, stage]).toEqual(['deny', 'deny']);
      }
    }),
  );
});

test('taking a grant away opens nothing', () => {
  const poorer: readonly ((policy: Policy) => Policy)[] = [
    (policy) => withRows(policy, ({ allow }) => ({ allow: allow.slice(1) })),
    (policy) => withRows(policy, () => ({ reachableFrom: [] })),
    (policy) => withRows(policy, () => ({ profile: null })),
    (policy) => ({ ...policy, inbound: policy.inbound.slice(1) }),
    (policy) => ({
      ...policy,
      profiles: policy.profiles.map((one) => ({ ...one, internet: null, services: [] })),
    }),
    (policy) => ({
      ...policy,
      sites: policy.sites.map((one) => ({ ...one, outbound: 'none', inbound: [] })),
    }),
    (policy) => ({
      ...policy,
      networks: policy.networks.map((one) => (one.isStrict ? one : { ...one, members: [] })),
    }),
  ];
  // A profile takes away as well: its deny rows, and `peers: none`. So does route_via: what comes from the exit opens nothing.
  const grantsOnly = (policy: Policy): Policy => ({
    ...policy,
    profiles: policy.profiles.map((one) => ({ ...one, deny: [], peers: 'network' })),
  });
  fc.assert(
    fc.property(
      anyPolicy.map(grantsOnly),
      packets,
      fc.constantFrom(...poorer),
      (policy, crossings, takeAway) => {
        const before = verdicts(policy, crossings);
        const after = verdicts(takeAway(policy), crossings);
        expect(after.filter((verdict, i) => verdict === 'allow' && before[i] === 'deny')).toEqual([]);
      },
    ),
  );
});

test('the order of rows never changes a verdict', () => {
  const reversed = (policy: Policy): Policy => ({
    ...withRows(policy, ({ allow, deny }) => ({ allow: allow.toReversed(), deny: deny.toReversed() })),
    services: policy.services.toReversed(),
    profiles: policy.profiles.toReversed(),
    networks: policy.networks.toReversed(),
    inbound: policy.inbound.toReversed(),
  });
  fc.assert(
    fc.property(anyPolicy, packets, (policy, crossings) => {
      expect(verdicts(reversed(policy), crossings)).toEqual(verdicts(policy, crossings));
    }),
  );
});

test('IPv4 and IPv6 are judged alike', () => {
  const twins = [
    ['10.9.0.1', 'fd09::1'],
    ['10.9.0.2', 'fd09::2'],
    ['10.9.0.3', 'fd09::3'],
    ['10.9.0.4', 'fd09::4'],
    ['10.5.0.1', 'fd05::1'],
    ['10.5.0.9', 'fd05::9'],
    ['192.168.7.9', 'fd07::9'],
    ['10.9.0.22', 'fd09::22'],
    ['9.9.9.9', '2620:fe::fe'],
    ['198.51.100.1', '2001:db8::1'],
    ['203.0.113.7', '2606:4700::7'],
  ].map((pair) => pair.map(ip));
  const both = fc.constantFrom(...twins);
  // Rows that name nothing of one version only.
  const isNeutral = ({ to, from }: AccessRow): boolean => to.kind !== 'prefix' && from === null;
  const neutral = (policy: Policy): Policy => ({
    ...withRows(policy, ({ allow, deny }) => ({
      allow: allow.filter(isNeutral),
      deny: deny.filter(isNeutral),
      reachableFrom: [],
    })),
    profiles: policy.profiles.map((one) => ({
      ...one,
      allow: one.allow.filter(isNeutral),
      deny: one.deny.filter(isNeutral),
    })),
    services: policy.services.map((one) => ({ ...one, addresses: [ip('10.9.0.22'), ip('fd09::22')] })),
    sites: policy.sites.map((one) => ({ ...one, outbound: 'any' })),
    inbound: policy.inbound.filter(({ from }) => from.every(({ kind }) => kind !== 'prefix')),
  });
  const leg = fc.constantFrom('in' as const, 'out' as const);
  const peer = fc.constantFrom('alice', 'bob', 'carol', 'cellb');
  fc.assert(
    fc.property(
      anyPolicy.map(neutral),
      leg,
      peer,
      both,
      both,
      fc.integer({ min: 1, max: 8 }),
      (policy, way, name, from, to, port) => {
        const [four, six] = [0, 1].map((i): Crossing => {
          const [source, destination] = [from[i], to[i]];
          if (source === undefined || destination === undefined) throw new Error('every twin has two');
          return { leg: way, peer: name, packet: { source, destination, protocol: 6, port } };
        });
        if (four === undefined || six === undefined) throw new Error('there are two versions');
        const evaluator = new Evaluator(policy, OWN);
        const { subject: _, ...said } = evaluator.judge(four);
        expect(evaluator.judge(six)).toMatchObject(said);
      },
    ),
  );
});
