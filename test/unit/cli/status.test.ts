// status: what it prints of the nodes that answer in a folder, aligned for a reader and as JSON. The nodes are stand-ins
// that answer on real sockets; test/pair/control.test.ts asks real ones.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { serveNode } from '../../../src/control/node-socket.ts';
import type { NodeStatus, PeerStatus } from '../../../src/control/target.ts';
import { ringfence } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringfence-status-'));
afterAll(() => rmSync(folder, { recursive: true }));
const env = { RINGFENCE_RUN_DIR: folder };

const ALICE: PeerStatus = {
  name: 'alice',
  publicKey: 'A=',
  hasPresharedKey: false,
  endpoint: '192.0.2.1:51820',
  latestHandshakeSeconds: Math.floor(Date.now() / 1000) - 3 * 3_600 - 60,
  rxBytes: '1536',
  txBytes: '5497558138880',
  keepaliveSeconds: 0,
  allowedIps: ['10.9.0.2/32', 'fd09::2/128'],
};
const BOB: PeerStatus = {
  ...ALICE,
  name: 'bob',
  endpoint: null,
  latestHandshakeSeconds: null,
  rxBytes: '0',
  txBytes: '148',
  allowedIps: ['10.9.0.3/32'],
};

function node(name: string, peers: readonly PeerStatus[]): NodeStatus {
  return {
    version: '0.1.0',
    pid: 4711,
    startedSeconds: 0,
    interface: {
      name,
      publicKey: 'B=',
      listenPort: 51_820,
      mtu: 1420,
      addresses: ['10.9.0.1/24'],
      offloads: {
        udpGso: { isActive: false, obstacle: 'eio' },
        udpGro: { isActive: true, obstacle: null },
        tunTcp: { isActive: true, obstacle: null },
        tunUdp: { isActive: false, obstacle: 'config' },
      },
    },
    lane: { state: 'running', restarts: 0, lastFailure: null, asksCookiesOf: 'nobody' },
    hostRules: null,
    policy: null,
    peers,
    drops: { 'bad-tag': '2', 'no-route': '0' },
    names: null,
    rotations: [],
    faults: { 'sendmmsg ENETUNREACH': 3 },
  };
}

/** Has the nodes answer while `work` runs. */
async function withNodes(nodes: readonly NodeStatus[], work: () => Promise<void>): Promise<void> {
  await using sockets = new AsyncDisposableStack();
  for (const one of nodes) {
    const socket = await serveNode(folder, one.interface.name, {
      status: async () => one,
      requests: {},
    });
    sockets.defer(() => socket.close());
  }
  await work();
}

const HEAD = `port 51820, MTU 1420, 10.9.0.1/24
  public key  B=
  offloads    udp_gso off (the host refused a train: EIO), udp_gro on, tun_tcp on, tun_udp off (the file has it off)
  policy      none: every peer may reach everything
  dropped     bad-tag 2
  faults      sendmmsg ENETUNREACH 3
`;

test('each node with its peers in a table', async () => {
  await withNodes([node('rf1', []), node('rf0', [ALICE, BOB])], async () => {
    expect(await ringfence(['status'], { env })).toEqual({
      code: 0,
      stderr: '',
      stdout: `rf0  ${HEAD}  PEER   ENDPOINT         HANDSHAKE  RECEIVED  SENT      ALLOWED
  alice  192.0.2.1:51820  3 h ago    1.50 KiB  5.00 TiB  10.9.0.2/32, fd09::2/128
  bob    -                never      0 B       148 B     10.9.0.3/32

rf1  ${HEAD}  no peers
`,
    });
  });
});

test('one node, and as JSON what it answered', async () => {
  const rf0 = node('rf0', [ALICE, BOB]);
  await withNodes([rf0, node('rf1', [])], async () => {
    expect((await ringfence(['status', 'rf1'], { env })).stdout).toBe(`rf1  ${HEAD}  no peers\n`);
    expect(JSON.parse((await ringfence(['status', 'rf0', '--json'], { env })).stdout)).toEqual(rf0);
    expect(JSON.parse((await ringfence(['status', '--json'], { env })).stdout)).toHaveLength(2);
  });
});

test.each([
  { args: ['status'], what: 'no node runs here' },
  { args: ['status', 'rf0'], what: 'no node runs on rf0' },
])('$what', async ({ args, what }) => {
  expect(await ringfence(args, { env })).toEqual({
    code: 1,
    stdout: '',
    stderr:
      `ringfence: ${what}: nothing answers in ${folder} (ERR_NODE_NOT_RUNNING)\n` +
      '  hint: start one with `ringfence run FILE`; RINGFENCE_RUN_DIR must be the same for both\n',
  });
});
