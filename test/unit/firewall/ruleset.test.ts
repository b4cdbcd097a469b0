// Our nft table as text: sets of many elements, and the two transactions by which they are put back.

import { expect, test } from 'vitest';
import {
  markOf,
  type Ruleset,
  renderChange,
  renderScript,
  renderSteps,
} from '../../../src/firewall/ruleset.ts';

function rulesetOf(count: number): Ruleset {
  const elements = Array.from({ length: count }, (_, i) => `10.9.${i >> 8}.${i & 0xff}`);
  return {
    table: 'rf_test',
    counters: [],
    sets: [
      { name: 'rf_peers4', kind: 'set', type: 'ipv4_addr', isInterval: false, elements },
      { name: 'rf_few4', kind: 'set', type: 'ipv4_addr', isInterval: true, elements: ['10.9.0.0/16'] },
    ],
    chains: [{ name: 'rf_in', hook: null, rules: ['ip saddr @rf_peers4 accept', 'drop'] }],
  };
}

test('a set of many has room for twice as many, and is made anew beyond', () => {
  const many = rulesetOf(3_000);
  expect(renderScript(many, markOf(many), new Map())).toContain('type ipv4_addr\n\t\tsize 8192\n');
  expect(renderScript(rulesetOf(3), 'rf_is_x', new Map())).not.toContain('size');
  expect(renderChange(many, rulesetOf(4_096))).toContain(
    'add element inet rf_test rf_peers4 { 10.9.11.184, ',
  );
  expect(renderChange(many, rulesetOf(4_097))).toBeNull();
});

test('put back, all rules are there before the elements of many', () => {
  const ruleset = rulesetOf(3_000);
  const steps = renderSteps(ruleset, new Map());
  expect(steps?.first).toMatch(/size 8192\n\t}\n.*10\.9\.0\.0\/16.*drop\n\t}\n\tchain rf_begun \{/s);
  expect(steps?.first.length).toBeLessThan(600);
  expect(steps?.second()).toMatch(
    new RegExp(
      `^delete chain inet rf_test rf_begun\nadd chain inet rf_test ${markOf(ruleset)}\nadd element inet rf_test rf_peers4 \\{ [^}]* \\}\n$`,
    ),
  );
  expect(renderSteps(rulesetOf(30), new Map())).toBeNull();
});
