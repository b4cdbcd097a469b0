// The compiled form says the same as the model: every random packet, under every random policy. What a change of the document
// leaves as it was is not compiled again.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compile } from '../../../src/policy/compile.ts';
import { Evaluator } from '../../../src/policy/evaluate.ts';
import type { Policy } from '../../../src/policy/model.ts';
import { anyCrossing, anyPolicy, OWN } from './arbitrary.ts';
import { document, ip, policyOf } from './documents.ts';
import { judgeCompiled } from './judge-compiled.ts';

test('compiled and model give one verdict, at one stage, by one row', () => {
  const packets = fc.array(anyCrossing, { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(anyPolicy, packets, (policy, crossings) => {
      const evaluator = new Evaluator(policy, OWN);
      const { policy: compiled, places } = compile(policy);
      for (const crossing of crossings) {
        const { verdict, stage, rule } = evaluator.judge(crossing);
        const wanted = { verdict, stage, rule: stage === 'default' ? null : rule.name };
        expect(judgeCompiled(compiled, OWN, crossing)).toEqual(wanted);
        if (wanted.rule !== null) expect(places.get(wanted.rule)).toEqual(rule.place);
      }
    }),
    { numRuns: 300 },
  );
});

test('after another document it is as if there had been none', () => {
  /** Some peers of the one, the rest of the other; and one more that nobody names, before or after. */
  const pairs = fc.record({
    one: anyPolicy,
    other: anyPolicy,
    kept: fc.subarray([0, 1, 2, 3]),
    isSameRest: fc.boolean(),
    isShared: fc.boolean(),
    isMoved: fc.boolean(),
    extra: fc.tuple(fc.boolean(), fc.boolean()),
  });
  const withExtra = (policy: Policy, isThere: boolean): Policy => {
    const dora = { name: 'dora', addresses: [ip('10.9.0.9')], routes: [], publicKey: new Uint8Array(32) };
    const more = policy.peers.slice(0, 1).map((peer) => ({ ...peer, ...dora }));
    return isThere ? { ...policy, peers: [...policy.peers, ...more] } : policy;
  };
  fc.assert(
    fc.property(pairs, ({ one, other, kept, isSameRest, isShared, isMoved, extra }) => {
      fc.pre(one.sites.length === other.sites.length); // rows name what is there
      const peers = other.peers.map((peer, i) => {
        const old = one.peers[i];
        if (!kept.includes(i) || old === undefined) return peer;
        const moved = isMoved && i === 0 ? { addresses: [ip('10.9.0.77')] } : {};
        return isShared
          ? Object.assign(i === 0 ? { ...old } : old, moved)
          : { ...structuredClone(old), ...moved };
      });
      const former = compile(withExtra(one, extra[0]));
      const next = withExtra(isSameRest ? { ...one, peers } : { ...other, peers }, extra[1]);
      expect(compile(next, former).policy).toEqual(compile(next).policy);
    }),
  );
});

test('the parts of a peer whose rows say the same stay, wherever their lines are now', () => {
  const section =
    'networks: {n: {members: [alice, bob]}}, profiles: {std: {internet: true}}, services: {files: {addr: 10.9.0.22, ports: [tcp/1]}}';
  const text = (alice: string): string =>
    document(section, { alice, bob: 'profile: std, allow: [{to: carol}, {to: files}]' });
  const before = compile(policyOf(text('allow: [{to: 192.168.1.2}]')));
  const after = compile(policyOf(`\n\n${text('allow: [{to: 192.168.1.3}]')}`), before);
  const isKept = (name: string): boolean =>
    after.policy.ruleSets.get(name) === before.policy.ruleSets.get(name);
  expect([isKept('peers/bob'), isKept('peers/alice')]).toEqual([true, false]);
  expect(after.policy.subjects.get('peers/bob')).toBe(before.policy.subjects.get('peers/bob'));
  expect(after.policy.notInternet).toBe(before.policy.notInternet);
  expect(after.places.get('peers.bob.allow[0]')?.line).toBe(
    (before.places.get('peers.bob.allow[0]')?.line ?? 0) + 2,
  );
  const moved = text('allow: [{to: 192.168.1.3}]').replace('10.9.0.4', '10.9.0.44');
  expect(compile(policyOf(moved), after).policy.ruleSets.get('peers/bob')).not.toBe(
    after.policy.ruleSets.get('peers/bob'),
  );
});
