// What peers use, added up over lanes and starts, and what is left of their quotas; and the file that keeps it.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { laneClockMs } from '../../../src/lane/clock.ts';
import type { LaneMeters } from '../../../src/lane/messages.ts';
import { Accounts } from '../../../src/node/accounts.ts';
import type { Policy } from '../../../src/policy/model.ts';
import { ConfigFolder, KEYS } from '../config/files.ts';

const NOVEMBER = Date.UTC(2026, 10, 22);
const DECEMBER = Date.UTC(2026, 11, 1);

let directory: string;
let warnings: string[];
let nowMs: number;
let policy: Policy;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ringfence-test-'));
  warnings = [];
  nowMs = NOVEMBER;
  policy = policyWith('1kB/month');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function policyWith(quota: string): Policy {
  using folder = new ConfigFolder();
  const { firewall } =
    folder.load(`interface: {name: rf0, private_key_file: rf0.key, addresses: [10.9.0.1/24]}
peers:
  alice: {public_key: ${KEYS[1]}, addresses: [10.9.0.2], profile: std}
  bob: {public_key: ${KEYS[2]}, addresses: [10.9.0.3]}
firewall:
  version: 1
  services: {files: {addr: 10.9.0.22, ports: [tcp/443]}}
  profiles: {std: {services: [files], rate: {down: 8mbit}, quota: ${quota}}}
`);
  if (firewall === null) throw new Error('it has a policy');
  return firewall.policy;
}

const file = (): string => join(directory, 'rf0.accounts.json');
const start = (): Promise<Accounts> =>
  Accounts.start({
    directory,
    interfaceName: 'rf0',
    log: { warn: (message) => warnings.push(message) },
    wallClock: () => nowMs,
  });

const NAMES = {
  peer: (id: number) => ({ 1: 'alice', 2: 'bob' })[id] ?? null,
  service: (rule: number) => (rule === 7 ? 'files' : null),
};

/** What a lane says that has counted so many bytes from alice, and half of them to her. */
function counted(bytes: bigint, startedMs = laneClockMs()): LaneMeters {
  const tally = (sum: bigint) => ({ bytes: sum, packets: 3n, flows: 1n });
  const row = (id: number) => ({ id, up: tally(bytes), down: tally(bytes / 2n) });
  return { startedMs, peers: [row(1), row(99)], services: [row(7)] };
}

const left = (accounts: Accounts): bigint | undefined => accounts.allowances(policy, () => 1).get('alice');
const usedBy = (accounts: Accounts) => accounts.peers(policy)[0];

test('counts of one lane after another are added up', async () => {
  const accounts = await start();
  expect(accounts.beginLane(policy)).toEqual(new Map([['alice', 1_000n]]));
  accounts.take(counted(100n), NAMES);
  accounts.take(counted(200n), NAMES);
  expect(left(accounts)).toBe(1_000n);
  const late = counted(250n, laneClockMs() - 1_000);
  expect(accounts.beginLane(policy).get('alice')).toBe(700n);
  accounts.take(late, NAMES);
  accounts.take(counted(40n), NAMES);
  expect(usedBy(accounts)).toMatchObject({
    peer: 'alice',
    up: { bytes: '240', packets: '6', flows: '2' },
    down: { bytes: '120' },
    rate: { up: null, down: 1_000_000 },
    quota: { bytes: '1000', usedBytes: '360', endsSeconds: DECEMBER / 1000, isOver: false },
  });
  expect(accounts.services(policy)).toMatchObject([{ service: 'files', up: { bytes: '240' } }]);
});

test('a start goes on where the last one ended, and a period begins on its day', async () => {
  const first = await start();
  first.beginLane(policy);
  first.take(counted(600n), NAMES);
  await first.write(policy, true);
  const second = await start();
  expect(second.beginLane(policy).get('alice')).toBe(100n);
  second.take(counted(200n), NAMES);
  expect(usedBy(second)).toMatchObject({ quota: { usedBytes: '1200', isOver: true } });
  expect(left(second)).toBe(100n);
  nowMs = DECEMBER;
  expect(left(second)).toBe(1_300n);
  nowMs = NOVEMBER;
  expect(left(second)).toBe(100n);
  policy = policyWith('5kB/month');
  expect(left(second)).toBe(4_100n);
  expect(warnings).toEqual([]);
});

test('the file is written when something has changed, and not more often than it must', async () => {
  const accounts = await start();
  await accounts.write(policy, true);
  expect(await readdir(directory)).toEqual([]);
  accounts.take(counted(1n), NAMES);
  await accounts.write(policy);
  expect(await readdir(directory)).toEqual([]);
  await accounts.write(policy, true);
  expect(await readdir(directory)).toEqual(['rf0.accounts.json']);
});

test.each([
  ['no JSON', '{"version":1,"peers"'],
  ['a list', '[]'],
  ['of another version', '{"version":2,"peers":{},"services":{}}'],
  ['without a count', '{"version":1,"peers":{"alice":{"up":{},"down":{},"quota":null}},"services":{}}'],
  ['an endless number', `{"version":1,"peers":{"a":{"up":{"bytes":"${'9'.repeat(99)}"}}},"services":{}}`],
])('a file that is %s is kept aside and told of', async (_, text) => {
  await writeFile(file(), text);
  const accounts = await start();
  expect(accounts.beginLane(policy).get('alice')).toBe(1_000n);
  expect(warnings).toEqual([expect.stringMatching(/cannot read .*rf0\.accounts\.json: .*\.refused; counts/)]);
  expect(await readdir(directory)).toEqual(['rf0.accounts.json.refused']);
  expect(await readFile(`${file()}.refused`, 'utf8')).toBe(text);
});

test('a folder that cannot be written to is told of once', async () => {
  directory = join(directory, 'file');
  await writeFile(directory, '');
  const accounts = await start();
  warnings = [];
  for (const bytes of [1n, 2n]) {
    accounts.take(counted(bytes), NAMES);
    await accounts.write(policy, true);
  }
  expect(warnings).toEqual([expect.stringContaining('After a restart quotas begin anew')]);
});
