// Differences between compiled policies: put onto the old one they give the new one, and they are no larger than the change.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { changesBetween, type PartChanges } from '../../../src/policy/changes.ts';
import { compile } from '../../../src/policy/compile.ts';
import type { CompiledPolicy } from '../../../src/policy/compiled.ts';
import { anyPolicy } from './arbitrary.ts';
import { document, policyOf } from './documents.ts';

function applied(before: CompiledPolicy, after: CompiledPolicy): CompiledPolicy {
  const { denial, ruleSets, networks, subjects, peers, notInternet } = changesBetween(before, after);
  const onto = <T>(parts: ReadonlyMap<string, T>, { put, drop }: PartChanges<T>): Map<string, T> => {
    const all = new Map([...parts, ...put]);
    for (const name of drop) all.delete(name);
    return all;
  };
  return {
    denial: denial ?? before.denial,
    ruleSets: onto(before.ruleSets, ruleSets),
    networks: onto(before.networks, networks),
    subjects: onto(before.subjects, subjects),
    peers: onto(before.peers, peers),
    notInternet: notInternet ?? before.notInternet,
  };
}

test('the old policy with the changes is the new one', () => {
  fc.assert(
    fc.property(anyPolicy, anyPolicy, (one, other) => {
      const [before, after] = [compile(one), compile(other)];
      expect(applied(before, after)).toEqual(after);
    }),
  );
});

test('the same document again changes nothing', () => {
  fc.assert(
    fc.property(anyPolicy, (policy) => {
      const { denial, notInternet, ...parts } = changesBetween(
        compile(policy),
        compile(structuredClone(policy)),
      );
      expect([denial, notInternet]).toEqual([null, null]);
      for (const { put, drop } of Object.values(parts)) expect([put.size, drop.length]).toEqual([0, 0]);
    }),
  );
});

test('a row of one peer changes the rule set of that peer, wherever else lines move', () => {
  const section = 'networks: {n: {members: [alice, bob]}}, profiles: {std: {internet: true}}';
  const rows = (alice: string) => ({ alice, bob: 'profile: std, allow: [{to: 192.168.1.1}]' });
  const before = compile(policyOf(document(section, rows('allow: [{to: 192.168.1.2}]'))));
  const after = compile(
    policyOf(`\n\n${document(section, rows('allow: [{to: 192.168.1.2}, {to: 192.168.1.3}]'))}`),
  );
  const { ruleSets, subjects, peers, networks, notInternet } = changesBetween(before, after);
  expect([...ruleSets.put.keys(), ...ruleSets.drop]).toEqual(['peers/alice']);
  expect([subjects.put.size, peers.put.size, networks.put.size, notInternet]).toEqual([0, 0, 0, null]);
});
