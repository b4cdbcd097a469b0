// `ringfence bench` before it measures: what is wrong is said at once, with exit status 2. What it measures is tested in
// test/pair/bench.test.ts.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { CURRENT_VERSION, type Result } from '../../../src/bench/result.ts';
import { renderResult } from '../../../src/cli/bench-text.ts';
import { ringfence } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringfence-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('refused before anything is measured', () => {
  writeFileSync(join(folder, 'old.json'), '{"samples":[]}');
  test.each([
    { args: ['--peers', 'openvpn'], says: 'there is no peer "openvpn": there are ringfence, wireguard-go' },
    { args: ['--only', 'speed'], says: 'there is no metric "speed": there are tcp1.up' },
    { args: ['--rounds', '0'], says: '"0" is not a whole number from 1 to 1000' },
    { args: ['--mtu', '100'], says: '"100" is not a whole number from 1280 to 65455' },
    { args: ['--compare', join(folder, 'none.json')], says: 'there is no such file (ERR_BENCH_RESULT)' },
    {
      args: ['--compare', join(folder, 'old.json')],
      says: 'old.json is no result of the benchmark: version: ',
    },
    {
      args: ['--json', join(folder, 'old.json')],
      says: 'old.json exists already, and nothing was written (ERR_FILE_EXISTS)',
    },
    { args: ['--json', join(folder, 'none', 'x.json')], says: 'x.json cannot be written: ENOENT' },
  ])('$args', async ({ args, says }) => {
    const { code, stdout, stderr } = await ringfence(['bench', ...args]);
    expect(stderr).toContain(says);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

test('the table has medians, spreads and ratios, and a verdict where all rounds agree', () => {
  const samples = (peer: string, metric: string, mtu: number | null, values: readonly number[]) =>
    values.map((value, index) => ({ round: index + 1, peer, mtu, metric, value }));
  const result: Result = {
    version: CURRENT_VERSION,
    date: '2026-11-22T07:02:22.214Z',
    commit: 'unknown',
    clean: false,
    command: 'ringfence bench',
    machine: { cpu: 'a CPU', cores: 2, memoryBytes: 1e9, kernel: '6.12' },
    settings: { rounds: 3, seconds: 3, mtus: [1420] },
    peers: [
      { name: 'ringfence', version: '1', offloads: ['tunTcp'] },
      { name: 'other', version: '2', offloads: [] },
    ],
    samples: [
      ...samples('ringfence', 'tcp1.up', 1420, [2, 3, 4]),
      ...samples('other', 'tcp1.up', 1420, [1, 1, 1]),
      ...samples('ringfence', 'start', null, [500, 500, 500]),
      ...samples('other', 'start', null, [50, 50, 1000]),
    ],
    notes: ['gotatun is not here'],
  };
  const cells = renderResult(result)
    .split('\n')
    .map((line) => line.trim().split(/ {2,}/));
  expect(cells).toEqual([
    ['ringfence', 'other', '÷'],
    ['TCP throughput, MTU 1420'],
    ['TCP, 1 stream, Gbit/s', '3.00 (2.00…4.00)', '1.00', '3.00 better'],
    ['Start'],
    ['start to ready, 1 peer, ms', '500', '50 (50…1000)', '10.00'],
    [''],
    [expect.stringContaining('Medians')],
    ['ringfence 1; offloads tunTcp'],
    ['other 2'],
    ['a CPU, 2 cores, Linux 6.12; both ends on this machine'],
    ['3 rounds, streams of 3 s'],
    ['note: gotatun is not here'],
    [''],
  ]);
});
