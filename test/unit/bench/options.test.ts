// What a user may ask the benchmark for, and what comes of it.

import { describe, expect, test } from 'vitest';
import { readCount, readMetrics, readMtus, readPeers } from '../../../src/bench/options.ts';
import { PROGRAM_NAMES } from '../../../src/bench/programs.ts';

describe('accepted', () => {
  test.each([
    ['1420', [1420]],
    ['9000, 1420', [9000, 1420]],
    ['1420,1420', [1420]],
  ])('--mtu %s', (text, value) => expect(readMtus(text)).toEqual({ ok: true, value }));

  test.each([
    ['boringtun-cli', ['ringfence', 'boringtun-cli']],
    ['wireguard-go,ringfence', ['ringfence', 'wireguard-go']],
    ['ringfence', ['ringfence']],
    [PROGRAM_NAMES.join(','), PROGRAM_NAMES],
  ])('--peers %s: ours comes first', (text, value) => expect(readPeers(text)).toEqual({ ok: true, value }));

  test.each([
    ['tcp1.up', ['tcp1.up']],
    ['start', ['start', 'start.1000']],
    ['udp64,tcp1', ['tcp1.up', 'tcp1.down', 'udp64.delivered', 'udp64.loss']],
    ['ping.idle', ['ping.idle.p50', 'ping.idle.p99']],
  ])('--only %s', (text, value) => expect(readMetrics(text)).toEqual({ ok: true, value }));

  test('a count', () => expect(readCount('12', 1, 12)).toEqual({ ok: true, value: 12 }));
});

describe('refused', () => {
  test.each([
    ['--mtu', () => readMtus('1420,large'), '"large"'],
    ['--mtu', () => readMtus('1279'), '"1279" is not a whole number from 1280'],
    ['--mtu', () => readMtus('65456'), 'to 65455'],
    ['--mtu', () => readMtus(''), '""'],
    ['--peers', () => readPeers('openvpn'), 'no peer "openvpn": there are ringfence, wireguard-go'],
    ['--peers', () => readPeers(''), 'no peer ""'],
    ['--only', () => readMetrics('tcp'), 'no metric "tcp": there are tcp1.up'],
    ['--only', () => readMetrics('tcp1.up,'), 'no metric ""'],
    ['a count', () => readCount('0', 1, 5), '"0"'],
    ['a count', () => readCount('6', 1, 5), '"6"'],
    ['a count', () => readCount('1.5', 1, 5), '"1.5"'],
    ['a count', () => readCount('1e1', 1, 50), '"1e1"'],
    ['a count', () => readCount('-1', -5, 5), '"-1"'],
  ])('%s: %s', (_, read, problem) =>
    expect(read()).toEqual({ ok: false, problem: expect.stringContaining(problem) }),
  );
});
