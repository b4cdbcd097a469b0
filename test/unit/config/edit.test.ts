// A file that its user wrote gets a peer or another value: every other byte stays, and what it says is what is meant.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { addPeer, setPeerKey } from '../../../src/config/edit.ts';
import { renderTemplate } from '../../../src/config/template.ts';

const KEY = 'RTYkjKW1a29KcKrOYB/N+Pu1poawQM0w+YF/RA0n+XQ=';
const BOB = { public_key: KEY, preshared_key_file: 'bob.psk', addresses: ['10.9.0.3', 'fd09::3'] };

const HEAD = 'interface:\n  name: rf0 # ours\n';
const FILES: readonly { name: string; text: string }[] = [
  { name: 'no peers', text: HEAD },
  { name: 'no peers and no line end', text: HEAD.trimEnd() },
  { name: 'an empty section', text: `${HEAD}peers:\n` },
  { name: 'an empty section at the end of the file', text: `${HEAD}peers:` },
  {
    name: 'an empty section with comments',
    text: `${HEAD}peers: # nobody\n  # alice:\n  #   public_key: x\n# end\n`,
  },
  { name: 'an empty flow map', text: `${HEAD}peers: {}\n` },
  { name: 'a flow map', text: `${HEAD}peers: {alice: {public_key: x}} # all\n` },
  { name: 'one peer', text: `${HEAD}peers:\n  alice:\n    public_key: x\n` },
  { name: 'one peer and no line end', text: `${HEAD}peers:\n  alice:\n    public_key: x` },
  {
    name: 'other indentation',
    text: `peers:\n      alice:\n        public_key: x # hers\n\n# then\n${HEAD}`,
  },
  {
    name: 'a list at the end',
    text: `peers:\n  alice:\n    addresses:\n      - 10.9.0.2\n      - fd09::2\n\n${HEAD}`,
  },
  {
    name: 'a flow list over lines',
    text: `peers:\n  alice:\n    addresses: [10.9.0.2,\n      fd09::2] # two\n${HEAD}`,
  },
  {
    name: 'a peer as a flow map',
    text: `peers:\n  alice: {public_key: x, addresses: [10.9.0.2]}\n  # more\n${HEAD}`,
  },
  { name: 'a block text at the end', text: `peers:\n  alice:\n    note: |\n      one\n      two\n${HEAD}` },
  { name: 'windows line ends', text: 'peers:\r\n  alice:\r\n    public_key: x\r\n' },
  {
    name: 'a comment between peers',
    text: `peers:\n  alice:\n    public_key: x\n  # carol:\n  #   public_key: z\n${HEAD}`,
  },
];

const isSubsequence = (part: readonly string[], whole: readonly string[]): boolean => {
  let at = 0;
  for (const line of whole) if (line === part[at]) at += 1;
  return at === part.length;
};

describe.each(FILES)('$name', ({ text }) => {
  test('one more peer', () => {
    const edited = addPeer(text, 'bob', BOB);
    const before = parse(text);
    expect(parse(edited)).toEqual({ ...before, peers: { ...before?.peers, bob: BOB } });
    if (!/peers: \{/.test(text))
      expect(isSubsequence(text.trimEnd().split(/\r?\n/), edited.split(/\r?\n/))).toBe(true);
  });

  test('another value and one more', () => {
    const { peers } = parse(text);
    if (peers?.alice === undefined) return;
    for (const [key, value] of [
      ['public_key', KEY],
      ['preshared_key_file', 'alice.psk'],
    ] as const) {
      const edited = setPeerKey(text, 'alice', key, value);
      const before = parse(text);
      expect(parse(edited)).toEqual({ ...before, peers: { alice: { ...before.peers.alice, [key]: value } } });
      expect(edited.match(/#.*/g)).toEqual(text.match(/#.*/g));
    }
  });
});

test('what `ringfence init` writes keeps all its words', () => {
  const template = renderTemplate({
    fileName: 'ringfence.yaml',
    interfaceName: 'rf0',
    keyFileName: 'rf0.key',
    publicKey: new Uint8Array(32).fill(1),
    addresses: [],
    listenPort: 51820,
  });
  const edited = addPeer(template, 'bob', BOB);
  expect(parse(edited).peers).toEqual({ bob: BOB });
  expect(isSubsequence(template.split('\n'), edited.split('\n'))).toBe(true);
  const twice = addPeer(edited, 'carol', { ...BOB, addresses: ['10.9.0.4'] });
  expect(Object.keys(parse(twice).peers)).toEqual(['bob', 'carol']);
  expect(isSubsequence(edited.split('\n'), twice.split('\n'))).toBe(true);
});

test('names that YAML would take for something else are names', () => {
  for (const name of ['1', 'on', 'null', '0x10', '1.5', 'a.b-c']) {
    expect(Object.keys(parse(addPeer(HEAD, name, BOB)).peers)).toEqual([name]);
  }
});

test('any file that can be written', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,12}$/);
  const peer = fc.record(
    { public_key: fc.constant(KEY), addresses: fc.array(fc.ipV4(), { maxLength: 3 }), keepalive: fc.nat() },
    { requiredKeys: ['public_key'] },
  );
  const options = fc.record({ indent: fc.integer({ min: 1, max: 8 }), indentSeq: fc.boolean() });
  fc.assert(
    fc.property(fc.dictionary(name, peer, { maxKeys: 5 }), options, (peers, style) => {
      const text = stringify(
        { interface: { name: 'rf0' }, peers, metrics: { listen: '127.0.0.1:1' } },
        style,
      );
      const before = parse(text);
      const edited = addPeer(text, 'Bob', BOB);
      expect(parse(edited)).toEqual({ ...before, peers: { ...before.peers, Bob: BOB } });
      for (const one of Object.keys(before.peers)) {
        const keyed = setPeerKey(text, one, 'public_key', 'other');
        expect(parse(keyed).peers[one]).toEqual({ ...before.peers[one], public_key: 'other' });
      }
    }),
    { numRuns: 60 },
  );
});
