// run: what its log options do to standard error. The node does not start, for another claims its interface: that needs no
// privileges, and nothing is made.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serveNode } from '../../../src/control/node-socket.ts';
import type { NodeStatus } from '../../../src/control/target.ts';
import type { UnixServer } from '../../../src/control/unix-server.ts';
import { ConfigFolder, INTERFACE } from '../config/files.ts';
import { ringfence, shell } from './program.ts';

const folder = new ConfigFolder();
let other: UnixServer;

/** Stands in for a node, of which `run` asks only who it is. */
const status = async (): Promise<NodeStatus> => ({ pid: 4711 }) as NodeStatus;

beforeAll(async () => {
  folder.load(INTERFACE);
  other = await serveNode(folder.path, 'rf0', { status, requests: {} });
});
afterAll(async () => {
  await other.close();
  folder[Symbol.dispose]();
});

/** The log of a start, and the error that ended it. */
async function logOfRun(options: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await ringfence(['run', ...options, 'ringfence.yaml'], {
    cwd: folder.path,
    env: { LOG_LEVEL: '', RINGFENCE_RUN_DIR: folder.path, ...env },
  });
  const [log = '', error] = stderr.split(/^ringfence: /m);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(error).toMatch(/^a node for rf0 runs already, as process 4711 \(ERR_NODE_INTERFACE\)\n/);
  return log;
}

test.each([{ options: [] }, { options: ['--log-format', 'json'] }])(
  'where stderr is no terminal, $options: a JSON object per line',
  async ({ options }) => {
    const log = await logOfRun([...options, '--log-level', 'debug']);
    const lines = log.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ level: 'debug', msg: 'starting rf0', file: 'ringfence.yaml' }),
    ]);
  },
);

test('on a terminal: lines to read', async () => {
  const variables = `LOG_LEVEL=debug RINGFENCE_RUN_DIR=${folder.path} NO_COLOR=1`;
  const command = `export -f ringfence; ${variables} SHELL=/bin/bash script -qec 'ringfence run ringfence.yaml' /dev/null < /dev/null`;
  const { stdout } = await shell(command, folder.path);
  expect(stdout).toMatch(/^\S+ debug starting rf0 file=ringfence\.yaml/);
});

describe('the level is that of --log-level, else that of LOG_LEVEL', () => {
  test.each([
    { options: ['--log-level', 'debug'], level: '', shows: true },
    { options: [], level: 'debug', shows: true },
    { options: [], level: '', shows: false },
    { options: ['--log-level', 'error'], level: 'debug', shows: false },
    { options: ['--log-level', 'debug'], level: 'error', shows: true },
  ])('$options, LOG_LEVEL=$level', async ({ options, level, shows }) => {
    const log = await logOfRun(['--log-format', 'text', ...options], { LOG_LEVEL: level });
    expect(log).toMatch(shows ? /^\S+ debug starting rf0 file=ringfence\.yaml/ : /^$/);
  });
});

test.each([
  { text: 'udp-gso', word: '"udp-gso"' },
  { text: 'none,-udp-gs0', word: '"-udp-gs0"' },
  { text: 'none,', word: '""' },
  { text: 'NONE', word: '"NONE"' },
])('RINGFENCE_OFFLOADS=$text is refused before anything is made', async ({ text, word }) => {
  const result = await ringfence(['run', 'ringfence.yaml'], {
    cwd: folder.path,
    env: { RINGFENCE_OFFLOADS: text, RINGFENCE_RUN_DIR: folder.path },
  });
  expect(result).toMatchObject({ code: 2, stdout: '' });
  expect(result.stderr).toContain(
    `ringfence: RINGFENCE_OFFLOADS: ${word} switches nothing (ERR_USAGE)\n  hint: `,
  );
});

test('--help tells of RINGFENCE_OFFLOADS, with the names', async () => {
  const { stdout } = await ringfence(['run', '--help']);
  expect(stdout).toMatch(/RINGFENCE_OFFLOADS .*\n.*\budp_gso, udp_gro, tun_tcp, tun_udp\b/s);
});

test.each([
  ['--log-level', 'loud'],
  ['--log-format', 'xml'],
])('%s %s is refused with what there is', async (option, value) => {
  expect(await ringfence(['run', option, value, 'ringfence.yaml'])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/Allowed choices are .*\(ERR_USAGE\)/),
  });
});
