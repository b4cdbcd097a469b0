// The compiled form says the same as the model: every random packet, under every random policy.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compile } from '../../../src/policy/compile.ts';
import { Evaluator } from '../../../src/policy/evaluate.ts';
import { rulesOf } from '../../../src/policy/model.ts';
import { anyCrossing, anyPolicy, OWN } from './arbitrary.ts';
import { judgeCompiled } from './judge-compiled.ts';

test('compiled and model give one verdict, at one stage, by one row', () => {
  const packets = fc.array(anyCrossing, { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(anyPolicy, packets, (policy, crossings) => {
      const evaluator = new Evaluator(policy, OWN);
      const compiled = compile(policy);
      const places = new Map(rulesOf(policy).map(({ name, place }) => [name, place]));
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
