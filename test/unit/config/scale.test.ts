// Large files: as many peers as a node will have, and as much nonsense as fits under the limit of 4 MiB. The deadlines are
// ten times what a quiet machine takes: they are missed where something grows with the square of the peers.

import { afterAll, describe, expect, test } from 'vitest';
import { ConfigFolder, INTERFACE } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

function peers(
  count: number,
  address = (i: number): string => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
): string {
  const lines = [INTERFACE.replace('10.9.0.1/24', '10.255.0.1/8'), 'peers:\n'];
  for (let i = 1; i <= count; i++) {
    const key = Buffer.alloc(32);
    key.writeUInt32BE(i);
    lines.push(
      `  peer${i}:\n    public_key: ${key.toString('base64')}\n    addresses: [${address(i)}, "fd09::${i.toString(16)}"]\n`,
      `    routes: ["fd0a:${i.toString(16)}::/48"]\n    endpoints: [vpn${i}.example.org:51820]\n    keepalive: 25\n`,
    );
  }
  return lines.join('');
}

test('3,000 peers', () => {
  expect(folder.load(peers(3_000)).peers).toHaveLength(3_000);
}, 13_000);

test('1,000 peers that all claim one address: each is told, and of the first', () => {
  const { problems } = folder.refusal(peers(1_000, () => '10.0.0.2'));
  expect(problems).toHaveLength(999);
  expect(problems.at(-1)?.message).toBe('10.0.0.2 is taken: peer peer1 has it in line 8');
}, 13_000);

describe('4 MiB of one thing', () => {
  test.each([
    ['opening brackets', '[', 'the values are nested too deeply'],
    ['closing brackets', ']', 'invalid YAML: unexpected flow-seq-end token in YAML document'],
    ['quotes', '"', 'there is more here than any configuration has'],
    ['maps in maps', 'a: ', 'the values are nested too deeply'],
    ['directives', '%a\n', 'invalid YAML: unknown directive %a'],
    ['tabs', '\t', 'the file is empty'],
    [
      'letters',
      'x',
      '"[not shown]" is not a section; it has the keys interface, peers, metrics, logging, firewall',
    ],
  ])(
    '%s',
    (_, unit, message) => {
      const { problems } = folder.refusal(unit.repeat(Math.floor((4 * 1024 * 1024) / unit.length)));
      expect(problems[0]?.message).toBe(message);
      expect(problems.length).toBeLessThanOrEqual(20);
    },
    30_000,
  );

  test('a long value repeated by aliases', () => {
    const text = `${INTERFACE}peers: {a: {routes: [&x "${'1.'.repeat(1_000_000)}", ${'*x, '.repeat(9_000)}]}}\n`;
    expect(folder.refusal(text).problems.at(-1)?.code).toBe('ERR_CONFIG_ALIAS');
  }, 30_000);
});
