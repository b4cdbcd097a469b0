// The benchmark as a user runs it: end to end, and interrupted in the middle.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { resultSchema } from '../../src/bench/result.ts';
import { until } from '../support/deadline.ts';
import { RINGFENCE } from '../support/node-process.ts';

function bench(...args: readonly string[]) {
  return spawn(RINGFENCE, ['bench', '--peers', 'ringfence', '--no-save', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1' },
  });
}

/** The processes that `root` has started, and those that they have, as far as they live. */
function descendantsOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      parents.set(Number(name), Number(parent));
    } catch {
      // it has ended since
    }
  }
  const found = [root];
  for (const pid of found)
    found.push(...[...parents].flatMap(([child, parent]) => (parent === pid ? [child] : [])));
  return found.slice(1);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** What a run could leave behind: interfaces, network namespaces, files. */
const traces = (): unknown => ({
  interfaces: execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }),
  namespaces: execFileSync('ip', ['netns'], { encoding: 'utf8' }),
  files: ['/run', tmpdir()].map((folder) => readdirSync(folder).sort()),
});

const hasIperf3 = spawnSync('iperf3', ['--version']).status === 0;

describe.skipIf(!hasIperf3)('ringfence bench, with iperf3 (apt-get install iperf3)', () => {
  test('measures what it is asked to, and prints it as JSON', async () => {
    const child = bench(
      '--quick',
      '--only',
      'tcp1.up,tcp8.down,cpu,udp64,ping,memory.load,handshakes,start',
      '--json',
    );
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'exit'),
    ]);
    expect(code, stderr).toBe(0);
    const result = resultSchema.parse(JSON.parse(stdout));
    expect(result.samples.map(({ metric, mtu }) => `${metric} ${mtu}`)).toEqual([
      'ping.idle.p50 1420',
      'ping.idle.p99 1420',
      'tcp1.up 1420',
      'cpu.per-gb 1420',
      'tcp8.down 1420',
      'ping.load.p50 1420',
      'ping.load.p99 1420',
      'udp64.delivered 1420',
      'udp64.loss 1420',
      'memory.load 1420',
      'handshakes null',
      'start null',
      'start.1000 null',
    ]);
    for (const { metric, value } of result.samples) {
      if (metric !== 'udp64.loss') expect(value, metric).toBeGreaterThan(0);
    }
    expect(result.peers[0]?.offloads).toContain('udpGso');
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)(
    '%s in the middle leaves nothing behind',
    async (signal) => {
      const before = traces();
      const child = bench('--rounds', '1', '--seconds', '60', '--mtu', '1420', '--only', 'tcp1.up');
      const ended = once(child, 'exit');
      child.stderr.resume();
      // The tunnel is up and a stream runs: nothing announces it, so the processes are looked at.
      const hasStream = (pids: readonly number[]): boolean =>
        pids.some((pid) => commandOf(pid).startsWith('iperf3\0-c'));
      const look = (): number[] => descendantsOf(child.pid ?? 0);
      const inside = await until(() => [look()].find(hasStream), 30_000, 'a stream');
      expect(inside.length).toBeGreaterThan(4);
      child.kill(signal);
      await ended;
      await expect.poll(() => inside.filter(isAlive), { timeout: 10_000 }).toEqual([]);
      expect(traces()).toEqual(before);
    },
  );
});

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
