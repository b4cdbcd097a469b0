// Default deny against two million probes, more than 200,000 a second, while the policy changes a hundred times in every way.
// They are sealed ahead: sealing is as much work as opening, and both on two cores would halve the rate.

import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { askNode } from '../../src/control/node-socket.ts';
import { attackRingfence } from '../support/attacker/attack.ts';
import { Attacker } from '../support/attacker/attacker.ts';
import { rawKeyPair, type Session } from '../support/attacker/noise.ts';
import { udpPacket } from '../support/attacker/packets.ts';
import type { Probes } from '../support/attacker/probes.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import type { LineProcess } from '../support/line-process.ts';
import { type NodeFile, OVERLAY } from '../support/node-process.ts';
import type { Host } from '../support/topology.ts';
import { NODE as NODE_PROGRAM } from '../support/traffic.ts';

const PROBES_PROGRAM = fileURLToPath(new URL('../support/attacker/probes.ts', import.meta.url));
const CHANGES = 100;
const DENIED_PORT = 7_777;
const PROBES_A_CHANGE = 20_032;
const PROBES = CHANGES * PROBES_A_CHANGE;
const AT_THE_END = 6_400;
const PER_SECOND = 230_000;
const SEALING_DEADLINE_MS = 120_000;

const VERSIONS = ['v4', 'v6'] as const;
const BOB = { v4: '10.9.0.3', v6: 'fd09::3' };
const NODE = OVERLAY.right;
const KEYS = { bob: generateKeyPair(), guest: generateKeyPair().publicKey };

/** Datagrams of 64 bytes to the node itself and to another peer, in both versions, from several ports. */
function probePackets(): Buffer[] {
  return VERSIONS.flatMap((version) =>
    [NODE[version], BOB[version]].flatMap((to) =>
      [0, 1, 2, 3].map((i) => {
        const data = Buffer.alloc(version === 'v4' ? 36 : 16, 'probe');
        return udpPacket(OVERLAY.left[version], to, { sport: 40_000 + i, dport: DENIED_PORT }, data);
      }),
    ),
  );
}

/** Seals ahead, for the session of an attacker, and sends when asked. */
class ProbeSender {
  readonly #process: LineProcess;
  #sent = 0;

  private constructor(process: LineProcess) {
    this.#process = process;
  }

  static async start(
    host: Host,
    session: Session,
    to: { readonly address: string; readonly port: number },
  ): Promise<ProbeSender> {
    const process = host.spawn(NODE_PROGRAM, [PROBES_PROGRAM], { isInteractive: true });
    const count = PROBES + AT_THE_END;
    const probes: Probes = {
      key: Buffer.from(session.keys.send).toString('base64'),
      packets: probePackets().map((packet) => packet.toString('base64')),
      ...{ count, perSecond: PER_SECOND, receiver: session.remote, counter: Number(session.counter) },
      ...to,
    };
    session.counter += BigInt(count);
    await process.write(`${JSON.stringify(probes)}\n`);
    await process.line(/"sealed"/, SEALING_DEADLINE_MS);
    return new ProbeSender(process);
  }

  async send(count: number): Promise<void> {
    this.#sent += count;
    await this.#process.write(`${count}\n`);
    await this.#process.line(new RegExp(`"sent":${this.#sent}\\b`), 60_000);
  }
}

/** What changes and never allows the port: rows, profiles and what they say, peers, networks, sites, services. */
function policyOf(file: NodeFile, change: number, moreRows: readonly object[] = []): object {
  const deny = [{ to: 'any', ports: [`udp/${DENIED_PORT}`] }];
  const kind = change % 6;
  const { attacker, bob } = file.peers;
  const icmp = { to: 'self', ports: ['icmp'] };
  const rows = [icmp, { to: 'self', ports: [`tcp/${1_000 + change}`] }, ...moreRows];
  const guest = { public_key: KEYS.guest, addresses: ['10.9.0.4'], profile: 'std' };
  return {
    ...file,
    peers: {
      attacker: {
        ...attacker,
        allow: kind === 0 ? rows.toReversed() : rows,
        ...(kind === 1 || kind === 2 ? { profile: 'std', deny } : {}),
      },
      bob: { ...bob, routes: kind === 5 ? ['10.5.0.0/24'] : [], profile: 'std', allow: [icmp] },
      ...(kind === 3 ? { guest } : {}),
    },
    firewall: {
      version: 1,
      services: { files: { addr: NODE.v4, ports: [`tcp/${2_000 + change}`] } },
      profiles: {
        std: { services: ['files'], ...(kind === 2 ? { internet: true, peers: 'all', deny } : {}) },
      },
      networks: kind === 4 ? { n: { isolation: 'strict', members: ['bob'] } } : {},
      sites: kind === 5 ? { bob: { subnets: ['10.5.0.0/24'], outbound: 'any', inbound: ['files'] } } : {},
    },
  };
}

/** A node that forwards from the attacker to bob, both with a session, and counts what comes out of the tunnel to the port. */
async function probed() {
  await using undo = new AsyncDisposableStack();
  const peers = { bob: { public_key: KEYS.bob.publicKey, addresses: [BOB.v4, BOB.v6] } };
  const { attacker, net, node } = undo.use(await attackRingfence({ name: 'probed', peers }));
  const { file, configFile, runDirectory } = node.files;
  await net.right.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  const rule = `iifname "${node.interfaceName}" udp dport ${DENIED_PORT} counter name came`;
  const chain = `chain in { type filter hook prerouting priority raw; ${rule}; }`;
  await net.right.exec('nft', ['-f', '-'], { input: `table inet watch { counter came { }; ${chain}; }\n` });
  const bob = undo.use(
    await Attacker.start(net.left, {
      ...attacker.options,
      keys: rawKeyPair(Buffer.from(KEYS.bob.privateKey, 'base64')),
      listenPort: 51_822,
      inside: { own: BOB, target: NODE },
    }),
  );
  const reload = async (change: number, moreRows?: readonly object[]): Promise<void> => {
    await writeFile(configFile, stringify(policyOf(file, change, moreRows)));
    await askNode(runDirectory, node.interfaceName, { request: 'reload' });
  };
  await reload(0);
  const [session, bobs] = await Promise.all([attacker.initiate(), bob.initiate()]);
  await Promise.all([attacker.ping(session), bob.ping(bobs)]);
  const came = async (): Promise<number> => {
    const stdout = await net.right.exec('nft', ['list', 'counter', 'inet', 'watch', 'came']);
    return Number(/packets (\d+)/.exec(stdout)?.[1]);
  };
  const atBob = () => bob.pending.filter((datagram) => isProbe(bob.open(datagram))).length;
  const fence = () => bob.ping(bobs);
  const owned = undo.move();
  const dispose = () => owned.disposeAsync();
  return { net, node, session, reload, came, atBob, fence, [Symbol.asyncDispose]: dispose };
}

function isProbe(packet: Uint8Array | undefined): boolean {
  return packet !== undefined && Buffer.from(packet).includes('probe');
}

test('of two million probes at a denied port nothing passes while the policy changes a hundred times', async () => {
  await using ground = await probed();
  const { net, node, came, atBob } = ground;
  const prober = await ProbeSender.start(net.left, ground.session, { address: net.right.v4, port: 51_820 });
  const before = await node.drops('filter-denied');
  const beganMs = performance.now();
  for (let change = 1; change <= CHANGES; change++) {
    await Promise.all([prober.send(PROBES_A_CHANGE), ground.reload(change)]);
  }
  const seconds = (performance.now() - beganMs) / 1_000;
  const denied = (await node.drops('filter-denied')) - before;
  console.log(`${denied} of ${PROBES} probes reached the filter: ${Math.round(denied / seconds)} a second`);
  expect(denied).toBeGreaterThan(1_000_000);
  expect((await node.status()).policy).toMatchObject({ state: 'enforced' });
  await ground.fence(); // behind it no probe is on its way
  expect([await came(), atBob()]).toEqual([0, 0]);

  // Allowed, they come: both can tell.
  await ground.reload(0, [{ to: 'self' }, { to: 'bob' }]);
  await prober.send(AT_THE_END);
  await until(async () => (await came()) > 0 && atBob() > 0, 10_000, 'probes that are allowed');
}, 180_000);
