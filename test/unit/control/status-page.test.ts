// The status page and its history: what is drawn of two statuses, and that no word of theirs becomes markup.

import { expect, test } from 'vitest';
import { History, ratesOf } from '../../../src/control/history.ts';
import { type PolicyView, renderStatusPage } from '../../../src/control/status-page.ts';
import type { NodeStatus, PeerStatus } from '../../../src/control/target.ts';
import { renderBytes, renderRate } from '../../../src/control/units.ts';
import {
  deniedOf,
  HOSTILE,
  matrixOf,
  nodeStatusOf,
  peerStatusOf,
  policyStatusOf,
} from '../../support/made-up-status.ts';

const ALICE = peerStatusOf('alice');

function at(peer: Partial<PeerStatus>, drops: Readonly<Record<string, string>> = {}): NodeStatus {
  return { ...nodeStatusOf([{ ...ALICE, ...peer }]), drops };
}

test('a rate is what passed between two looks; counts that began anew are none', () => {
  const rates = (from: string, to: string) =>
    ratesOf(at({ rxBytes: from }), at({ rxBytes: to }), 5).get(ALICE.publicKey)?.received;
  expect([rates('1000', '6000'), rates('6000', '0')]).toEqual([1_000, 0]);
  expect(ratesOf(nodeStatusOf([]), at({}), 5).size).toBe(0);
});

test('drops are counted since the start and lately, the latest reasons first', () => {
  const history = new History();
  history.take(at({}, { 'bad-tag': '50', 'no-route': '1', 'too-short': '0' }), 0);
  history.take(at({}, { 'bad-tag': '50', 'no-route': '4', 'too-short': '0' }), 5_000);
  const last = at({}, { 'bad-tag': '50', 'no-route': '5', 'too-short': '0' });
  history.take(last, 10_000);
  expect(history.drops(last)).toEqual([
    { reason: 'no-route', recent: 4, total: 5n, lastMs: 10_000 },
    { reason: 'bad-tag', recent: 0, total: 50n, lastMs: null },
  ]);
});

test('the history has an end, and so has what it takes', () => {
  const history = new History();
  for (let index = 0; index < 1_000; index++) {
    history.take(at({ txBytes: String(index * 5_000) }), index * 5_000);
  }
  expect(history.samples).toHaveLength(120);
  expect(history.samples.at(-1)).toMatchObject({ atMs: 999 * 5_000, sent: 1_000 });
  expect(renderStatusPage(at({}), history, null).body).toContain('sent 8.00 kbit/s');
});

test('every word of a status is text on the page', () => {
  const history = new History();
  const status: NodeStatus = {
    ...nodeStatusOf([{ ...ALICE, name: HOSTILE, endpoint: HOSTILE, allowedIps: [HOSTILE] }]),
    drops: { [HOSTILE]: '3' },
    faults: { [HOSTILE]: 1 },
    lane: { state: 'restarting', restarts: 2, lastFailure: HOSTILE, asksCookiesOf: 'everyone' },
    policy: policyStatusOf([deniedOf(HOSTILE, HOSTILE, 1)]),
    rotations: [
      {
        what: 'psk',
        peer: HOSTILE,
        state: 'offered',
        generation: 3,
        sinceSeconds: 0,
        unconfirmed: [HOSTILE],
      },
    ],
  };
  history.take(status, 0);
  history.take(status, 5_000);
  const { body } = renderStatusPage(status, history, { file: HOSTILE, matrix: matrixOf([HOSTILE]) });
  expect(body).not.toContain('<script');
  expect(body).not.toContain('<img');
  expect(body.match(/&lt;script&gt;/g)).toHaveLength(12);
});

test('what the policy denied is told by row, and what it lets whom reach, or how to ask', () => {
  const denied = ['a', 'b', 'c', 'd', 'e'].map((peer, i) => deniedOf('peers.bob.deny[0]', peer, i));
  const status = {
    ...at({}),
    policy: policyStatusOf([...denied, deniedOf(null, null, 7)]),
  };
  const bodyOf = (...[shown, policy]: [NodeStatus, PolicyView | null]): string =>
    renderStatusPage(shown, new History(), policy).body;
  const text = bodyOf(status, { file: 'rf0.yaml', matrix: matrixOf(['alice', 'bob']) });
  expect(text).toMatch(
    /peers\.bob\.deny\[0\].*rf0\.yaml:28:9.*a, b, c and 2 more<\/td><td>10<.*no row allows it.*<td>7</s,
  );
  expect(text).toMatch(/<td class="all">all<.*<td class="some"><span>tcp\/443</s);
  const large = bodyOf(status, { file: 'rf0.yaml', matrix: null });
  expect(large).toContain('ringfence policy matrix rf0.yaml --from NAME');
  expect(large).not.toContain('from \\ to');
  expect(bodyOf({ ...status, policy: policyStatusOf([]) }, null)).toContain('Nothing since the lane started');
  expect(bodyOf({ ...status, policy: { state: 'restarting' } }, null)).toContain('nothing passes');
  const none = bodyOf(at({}), null);
  expect(none).toContain('every peer may reach everything');
  expect(none).not.toContain('Denied by the policy');
});

test.each([
  [0n, '0 B'],
  [1536n, '1.50 KiB'],
  [5_497_558_138_880n, '5.00 TiB'],
])('%s bytes are %s', (bytes, text) => expect(renderBytes(bytes)).toBe(text));

test.each([
  [0, '0 bit/s'],
  [125, '1.00 kbit/s'],
  [12_500_000, '100 Mbit/s'],
])('%s bytes a second are %s', (bytes, text) => expect(renderRate(bytes)).toBe(text));

test('a key that is being changed is on the page, with whom it waits for', () => {
  const sinceSeconds = Math.floor(Date.now() / 1000) - 60;
  const unconfirmed = Array.from({ length: 7 }, (_, i) => `peer-${i}`);
  const status: NodeStatus = {
    ...nodeStatusOf([]),
    rotations: [
      {
        what: 'identity',
        peer: null,
        state: 'scheduled',
        generation: null,
        sinceSeconds: 1_800_000_000,
        unconfirmed: [],
      },
      { what: 'identity', peer: null, state: 'offered', generation: 2, sinceSeconds, unconfirmed },
      { what: 'peer', peer: 'bob', state: 'confirmed', generation: 1, sinceSeconds: null, unconfirmed: [] },
    ],
  };
  const page = renderStatusPage(status, new History(), null).body;
  for (const line of [
    'key pair of this node: begins at 2027-01-15T08:00:00.000Z',
    'key pair of this node, generation 2: both keys accepted for 60 s, the new one not used yet by peer-0, peer-1, peer-2, peer-3, peer-4 and 2 more',
    'key pair of bob, generation 1: both keys accepted, the new one is used, and the old one goes',
  ])
    expect(page).toContain(line);
});

test('paths that nobody gets through stand there with who drops them, in no markup of theirs', () => {
  const path = { by: 'inet admin input', remedy: null };
  const paths = [
    { ...path, name: 'inbound api', effective: 'yes', by: null, why: null } as const,
    { ...path, name: 'inbound web', effective: 'no', why: `dropped by ${HOSTILE}` } as const,
    { ...path, name: 'overlay to this host', effective: 'unknown', by: null, why: 'no tunnel' } as const,
  ];
  const hostRules = { backend: 'nft', table: 'rf_home0', notEnforced: [], restored: 0, counters: {}, paths };
  const { body } = renderStatusPage(
    { ...at({}), hostRules: { ...hostRules, backend: 'nft' } },
    new History(),
    null,
  );
  expect(body).toContain('1 of 3 openings and paths');
  expect(body).toContain('<dd class="bad">not effective: inbound web: dropped by ');
  expect(body).toContain('<dd>not known: overlay to this host: no tunnel</dd>');
  expect(body).not.toContain(HOSTILE);
  const untried = { ...hostRules, backend: 'nft', paths: null } as const;
  expect(renderStatusPage({ ...at({}), hostRules: untried }, new History(), null).body).not.toContain(
    'effective',
  );
});
