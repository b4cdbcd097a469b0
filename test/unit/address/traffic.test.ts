// Protocols, ports and ICMP types: what a text means, and what is no such text.

import { describe, expect, test } from 'vitest';
import { commonTraffic, coversTraffic, parseTraffic, renderTraffic } from '../../../src/address/traffic.ts';
import { parsed } from './parsed.ts';

describe('what a text means', () => {
  const all = (protocol: number) => ({ protocol, first: 0, last: 65_535 });
  test.each([
    ['tcp/443', [{ protocol: 6, first: 443, last: 443 }]],
    ['udp/8000-8010', [{ protocol: 17, first: 8000, last: 8010 }]],
    ['sctp/1', [{ protocol: 132, first: 1, last: 1 }]],
    ['6/80', [{ protocol: 6, first: 80, last: 80 }]],
    ['tcp', [all(6)]],
    ['gre', [all(47)]],
    ['47', [all(47)]],
    ['255', [all(255)]],
    ['icmp', [all(1), all(58)]],
    ['icmpv6', [all(58)]],
    ['58', [all(58)]],
    [
      'icmp/echo-request',
      [
        { protocol: 1, first: 8, last: 8 },
        { protocol: 58, first: 128, last: 128 },
      ],
    ],
    ['icmp/packet-too-big', [{ protocol: 58, first: 2, last: 2 }]],
    ['icmp/8', [{ protocol: 1, first: 8, last: 8 }]],
    ['icmpv6/128-129', [{ protocol: 58, first: 128, last: 129 }]],
  ])('%s', (text, traffic) => expect(parsed(parseTraffic, text)).toEqual(traffic));
});

test.each([
  '',
  'tcp/',
  'tcp/0',
  'tcp/65536',
  'tcp/2-1',
  'tcp/1-2-3',
  'tcp/https',
  'tcp/01',
  'TCP/1',
  '256',
  '-1',
  '47/1',
  'gre/1',
  'icmp/256',
  'icmp/ping',
  'icmpv6/timestamp-request',
  'constructor',
  'icmp/toString',
])('%j is none', (text) => {
  expect(parseTraffic(text).ok).toBe(false);
});

test.each([
  'tcp/443',
  'udp/8000-8010',
  'gre',
  '200',
  'icmpv6',
  'icmp/echo-request',
  'icmpv6/echo-reply',
  'icmp/200',
  'icmp/1-3',
])('%s is written as it is read', (text) => {
  const [first] = parsed(parseTraffic, text);
  if (first === undefined) throw new Error('at least one');
  expect(parsed(parseTraffic, renderTraffic(first))[0]).toEqual(first);
});

test('what is in both, and what covers', () => {
  const [wide, narrow, other] = ['tcp/1-10', 'tcp/5', 'udp/5'].map((text) => parsed(parseTraffic, text)[0]);
  if (wide === undefined || narrow === undefined || other === undefined) throw new Error('one each');
  expect(commonTraffic(wide, { ...narrow, last: 20 })).toEqual({ protocol: 6, first: 5, last: 10 });
  expect(commonTraffic(wide, other)).toBeNull();
  expect([coversTraffic(wide, narrow), coversTraffic(narrow, wide), coversTraffic(wide, other)]).toEqual([
    true,
    false,
    false,
  ]);
});
