// A node's beginning and end: what it makes goes with it, however it ends, and what is not its own stays.

import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until, within } from '../support/deadline.ts';
import { networkState } from '../support/host-state.ts';
import {
  NodeProcess,
  OVERLAY,
  type PairFiles,
  RINGFENCE,
  Scratch,
  writeNode,
  writePair,
} from '../support/node-process.ts';
import { type Routed, routed } from '../support/topology.ts';
import { holdPort, ping } from '../support/traffic.ts';

const NETWORK_BEHIND = { v4: '10.77.0.0/16', v6: 'fd77::/48' };

// One ground for all tests of this file: each must leave it as it was, so the next finds it clean.
let net: Routed;
let scratch: Scratch;
let files: PairFiles;

beforeAll(async () => {
  scratch = await Scratch.create();
  net = await routed();
  const pair = await writePair(scratch.path, {
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
  });
  const { directory, keys, file } = pair.left;
  const [peer] = Object.values(file.peers);
  if (peer === undefined) throw new Error('the left node has no peer');
  const routes = [NETWORK_BEHIND.v4, NETWORK_BEHIND.v6];
  const left = await writeNode(directory, keys, { ...file, peers: { right: { ...peer, routes } } });
  files = { left, right: pair.right };
});

afterAll(async () => {
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

/** `ringfence run` of the left node, to its end. */
async function runToEnd(env: Record<string, string> = {}) {
  return await net.left.try(RINGFENCE, ['run', files.left.configFile], {
    env: { RINGFENCE_RUN_DIR: files.left.runDirectory, ...env },
  });
}

async function leftovers(): Promise<string[]> {
  return await readdir(files.left.runDirectory);
}

describe('the end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('%s takes back all of it within 5 s', async (signal) => {
    const before = await networkState(net.left);
    await using left = await NodeProcess.start(net.left, files.left);
    await using _right = await NodeProcess.start(net.right, files.right);
    expect(await ping(net.left, OVERLAY.right.v4, { count: 1 })).toMatchObject({ received: 1 });
    const during = await networkState(net.left);
    for (const made of ['"rf-left"', '10.9.0.1', 'fd09::1', NETWORK_BEHIND.v4, NETWORK_BEHIND.v6]) {
      expect(during).toContain(made);
    }
    expect(existsSync(left.socket)).toBe(true);

    expect(await left.process.stop(signal, 5_000)).toEqual({ code: 0, signal: undefined });
    expect(await networkState(net.left)).toBe(before);
    expect(await leftovers()).toEqual([]);
    expect(left.process.output).toContain(`${signal}: stopping`);
    expect(left.process.output).toContain('rf-left is down');
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s while `ip` sets up the interface ends it as cleanly',
    async (signal) => {
      const before = await networkState(net.left);
      await using held = await Scratch.create();
      const [tools, reached, go] = ['tools', 'reached', 'go'].map((name) => join(held.path, name)) as [
        string,
        string,
        string,
      ];
      const ip = await net.left.exec('sh', ['-c', 'command -v ip']);
      await mkdir(tools);
      await writeFile(
        join(tools, 'ip'),
        `#!/bin/sh
      [ "$1" != -batch ] || { : > ${reached}; until [ -e ${go} ]; do sleep 0.01; done; }
      exec ${ip} "$@"\n`,
        { mode: 0o755 },
      );
      const path = `${tools}:${process.env['PATH']}`;
      const args = [`PATH=${path}`, RINGFENCE, 'run', files.left.configFile];
      const started = net.left.spawn('env', args, { env: { RINGFENCE_RUN_DIR: files.left.runDirectory } });
      await until(() => existsSync(reached), 10_000, 'the setup of the interface');
      started.signal(signal);
      await writeFile(go, '');
      expect(await within(started.exited, 5_000, 'the end')).toEqual({ code: 0, signal: undefined });
      expect(await networkState(net.left)).toBe(before);
      expect(await leftovers()).toEqual([]);
    },
  );

  test('kill -9 leaves nothing in the kernel, and the next start takes over, five times in a row', async () => {
    const before = await networkState(net.left);
    await using _right = await NodeProcess.start(net.right, files.right);
    for (let round = 1; round <= 5; round++) {
      await using left = await NodeProcess.start(net.left, files.left);
      expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000 }), `round ${round}`).toMatchObject({
        received: 3,
      });
      expect(await leftovers()).toEqual(['rf-left.sock']);
      expect(await left.process.stop('SIGKILL')).toEqual({ code: undefined, signal: 'SIGKILL' });
      expect(await networkState(net.left)).toBe(before);
    }
    expect(await leftovers()).toEqual(['rf-left.sock']); // stale: nobody was there to remove it
    await using left = await NodeProcess.start(net.left, files.left);
    // The other side knows nothing of the end: its session is dead, and it must notice before its packets arrive.
    await until(
      async () => (await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 1_000 })).received === 1,
      20_000,
      'a ping from the side that stayed',
    );
    expect(await left.stop()).toEqual({ code: 0, signal: undefined });
    expect(await networkState(net.left)).toBe(before);
    expect(await leftovers()).toEqual([]);
  });

  test('the interface is deleted: the process ends with 1 and says so', async () => {
    const before = await networkState(net.left);
    await using left = await NodeProcess.start(net.left, files.left);
    await net.left.ip('link', 'del', 'rf-left');
    expect(await within(left.process.exited, 10_000, 'the end of the process')).toEqual({
      code: 1,
      signal: undefined,
    });
    expect(problemsOf(left)).toEqual([
      expect.stringMatching(/^ringfence: the interface rf-left was deleted.* \(ERR_NODE_INTERFACE\)$/),
    ]);
    expect(await networkState(net.left)).toBe(before);
    expect(await leftovers()).toEqual([]);
  });

  test('the namespace that the interface was moved to is deleted: likewise', async () => {
    const before = await networkState(net.left);
    await execa('ip', ['netns', 'add', 'elsewhere']);
    await using left = await NodeProcess.start(net.left, files.left);
    try {
      await net.left.ip('link', 'set', 'rf-left', 'netns', 'elsewhere');
    } finally {
      await execa('ip', ['netns', 'delete', 'elsewhere']);
    }
    expect(await within(left.process.exited, 10_000, 'the end of the process')).toEqual({
      code: 1,
      signal: undefined,
    });
    expect(problemsOf(left)).toHaveLength(1);
    expect(await networkState(net.left)).toBe(before);
    expect(await leftovers()).toEqual([]);
  });
});

/** The lines in which a process says why it ended. */
function problemsOf({ process }: NodeProcess): string[] {
  return process.lines.map((line) => line.text).filter((text) => text.startsWith('ringfence: '));
}

describe('not alone', () => {
  test('a second run of the same file refuses, and the first goes on', async () => {
    await using left = await NodeProcess.start(net.left, files.left);
    await using _right = await NodeProcess.start(net.right, files.right);
    expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
    const { code, stdout, stderr } = await runToEnd();
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr.split('\n')).toEqual([
      `ringfence: a node for rf-left runs already, as process ${left.process.pid} (ERR_NODE_INTERFACE)`,
      expect.stringMatching(/^ {2}hint: stop it/),
    ]);
    expect(await ping(net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });
    expect((await left.status()).pid).toBe(left.process.pid);
  });

  test.each([
    { kind: 'bridge', add: ['link', 'add', 'rf-left', 'type', 'bridge'] },
    { kind: 'veth', add: ['link', 'add', 'rf-left', 'type', 'veth', 'peer', 'name', 'rf-other'] },
    { kind: 'persistent tun', add: ['tuntap', 'add', 'dev', 'rf-left', 'mode', 'tun'] },
  ])('a $kind of the same name is left as it is', async ({ add }) => {
    await net.left.ip(...add);
    try {
      await net.left.ip('address', 'add', '172.16.0.1/24', 'dev', 'rf-left');
      const before = await networkState(net.left);
      const { code, stderr } = await runToEnd();
      expect(code).toBe(1);
      expect(stderr.split('\n')).toEqual([
        'ringfence: an interface rf-left exists already, and is not ours (ERR_NODE_INTERFACE)',
        expect.stringMatching(/^ {2}hint: choose another name, or remove it: ip link del rf-left$/),
      ]);
      expect(await networkState(net.left)).toBe(before);
      expect(await leftovers()).toEqual([]);
    } finally {
      await net.left.ip('link', 'del', 'rf-left');
    }
  });

  describe.each(['127.0.0.1', '::1'])('a UDP port that somebody has at %s', (address) => {
    test('ends the start with one clear line, and nothing is left', async () => {
      const before = await networkState(net.left);
      await using _other = await holdPort(net.left, address, 51820);
      const { code, stdout, stderr } = await runToEnd();
      expect(code).toBeGreaterThan(0);
      expect(stdout).toBe('');
      expect(stderr.split('\n')).toEqual([
        expect.stringContaining('UDP port 51820 is in use by another program'),
        expect.stringMatching(/^ {2}hint: choose another port/),
      ]);
      expect(await networkState(net.left)).toBe(before);
      expect(await leftovers()).toEqual([]);
    });

    test('is a fault of the file, named by its place', async () => {
      await using _other = await holdPort(net.left, address, 51820);
      const { code, stderr } = await runToEnd();
      const lines = (await readFile(files.left.configFile, 'utf8')).split('\n');
      const line = lines.findIndex((text) => text.includes('listen_port')) + 1;
      expect(stderr).toContain(`${files.left.configFile}:${line}:`);
      expect(stderr).toContain('interface.listen_port: UDP port 51820');
      expect(code).toBe(2);
    });
  });
});
