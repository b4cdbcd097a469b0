// The offloads switched off one by one: what was sent still arrives, `status` says which is off and why, and the counters
// of the kernel show that nothing is joined there any more. A packet of a counter is what one call carried.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { OFFLOAD_KEYS, OFFLOADS, type Offload } from '../../src/config/offloads.ts';
import type { OffloadObstacle } from '../../src/control/target.ts';
import { until } from '../support/deadline.ts';
import { OVERLAY, Scratch } from '../support/node-process.ts';
import { type Pair, type StartPairOptions, startPair } from '../support/pair.ts';
import type { Host } from '../support/topology.ts';
import { holdPort, sendTrains, transferTcp } from '../support/traffic.ts';

const MTU = 1420;
const ETHERNET_BYTES = 1514;
const TRANSFER_BYTES = 32 * 1024 * 1024;
/** No more than the buffer of a socket holds. */
const TRAINS = { count: 2, lengthBytes: 40_000, segmentBytes: 1000 } as const;
const NO_CHECKSUM = fileURLToPath(new URL('../../native/test/support/no-checksum.c', import.meta.url));

interface Traffic {
  readonly packets: number;
  readonly bytes: number;
}

/** What an interface has sent or received so far; its receiving is the writing of who holds a TUN device. */
async function countOf(host: Host, device: string, way: 'rx' | 'tx'): Promise<Traffic> {
  const links = JSON.parse(await host.ip('-s', '-j', 'link', 'show', device)) as [
    { stats64: Record<'rx' | 'tx', Traffic> },
  ];
  return links[0].stats64[way];
}

/** Datagrams that the sockets of a host were given: a train counts once. */
async function datagramsOf(host: Host): Promise<number> {
  const [names = [], values = []] = (await host.exec('cat', ['/proc/net/snmp']))
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('InDatagrams')]);
}

/** Bytes of a packet on average while `work` ran, by place. */
async function sizesDuring(pair: Pair, work: () => Promise<void>) {
  const { left, right } = pair.net;
  const look = async () => ({
    read: await countOf(left, 'rf-left', 'tx'),
    sent: await countOf(left, 'eth0', 'tx'),
    received: { packets: await datagramsOf(right), bytes: (await countOf(right, 'eth0', 'rx')).bytes },
    written: await countOf(right, 'rf-right', 'rx'),
  });
  const before = await look();
  await work();
  const after = await look();
  const mean = (place: keyof typeof after): number =>
    (after[place].bytes - before[place].bytes) / (after[place].packets - before[place].packets);
  return { read: mean('read'), sent: mean('sent'), received: mean('received'), written: mean('written') };
}

async function transfer({ net }: Pair): Promise<void> {
  const { sent, received } = await transferTcp(net.left, net.right, OVERLAY.right.v4, TRANSFER_BYTES);
  expect(received).toMatchObject({ bytes: TRANSFER_BYTES, sha256: sent.sha256 });
}

async function trains({ net }: Pair): Promise<void> {
  await using listener = await holdPort(net.right, OVERLAY.right.v6, 7000);
  await sendTrains(net.left, OVERLAY.right.v6, 7000, TRAINS);
  const datagrams = (TRAINS.count * TRAINS.lengthBytes) / TRAINS.segmentBytes;
  const arrived = () => listener.lines.filter(({ text }) => text.includes(`"length":${TRAINS.segmentBytes}`));
  await until(() => arrived().length >= datagrams, 10_000, 'all datagrams of the trains');
  expect(arrived()).toHaveLength(datagrams);
}

/** What `status` says is off, and why, on both ends. */
async function obstaclesOf({ left, right }: Pair): Promise<Partial<Record<Offload, OffloadObstacle>>[]> {
  const ends = await Promise.all([left.status(), right.status()]);
  return ends.map(({ interface: { offloads } }) =>
    Object.fromEntries(
      OFFLOADS.filter((offload) => !offloads[offload].isActive).map((offload) => [
        offload,
        offloads[offload].obstacle,
      ]),
    ),
  );
}

const NONE = { RINGFENCE_OFFLOADS: 'none' };
const CASES: readonly {
  name: string;
  off: readonly Offload[];
  why: OffloadObstacle;
  options: StartPairOptions;
}[] = [
  { name: 'all on', off: [], why: 'config', options: {} },
  ...OFFLOADS.map((offload) => ({
    name: `${offload} off in the file`,
    off: [offload],
    why: 'config' as const,
    options: { offloads: { [OFFLOAD_KEYS[offload]]: false } },
  })),
  {
    name: 'all off in the environment',
    off: OFFLOADS,
    why: 'environment',
    options: { start: { left: { env: NONE }, right: { env: NONE } } },
  },
];

describe.each(CASES)('$name', ({ off, why, options }) => {
  test('what is sent arrives, joined where it may be and nowhere else', async () => {
    await using pair = await startPair({ mtu: MTU, ...options });
    expect(await obstaclesOf(pair)).toEqual(Array(2).fill(Object.fromEntries(off.map((one) => [one, why]))));

    const tcp = await sizesDuring(pair, () => transfer(pair));
    const udp = await sizesDuring(pair, () => trains(pair));
    const places: readonly { by: Offload; where: string; bytes: number; most: number }[] = [
      { by: 'udpGso', where: 'sent', bytes: tcp.sent, most: ETHERNET_BYTES },
      { by: 'udpGro', where: 'received', bytes: tcp.received, most: ETHERNET_BYTES },
      { by: 'tunTcp', where: 'TCP read', bytes: tcp.read, most: MTU },
      { by: 'tunTcp', where: 'TCP written', bytes: tcp.written, most: MTU },
      { by: 'tunUdp', where: 'UDP read', bytes: udp.read, most: MTU },
      { by: 'tunUdp', where: 'UDP written', bytes: udp.written, most: MTU },
    ];
    for (const { by, where, bytes, most } of places) {
      if (off.includes(by)) expect(bytes, where).toBeLessThanOrEqual(most);
      // How much is joined behind an offload that is missing is a matter of timing.
      else if (off.length === 0) expect(bytes, where).toBeGreaterThan(most);
    }
  });
});

test('the environment wins over the file, both ways', async () => {
  await using pair = await startPair({
    offloads: { udp_gso: false, tun_tcp: true },
    start: {
      left: { env: { RINGFENCE_OFFLOADS: '+udp-gso,-tun_tcp' } },
      right: { env: { RINGFENCE_OFFLOADS: 'none, +tun-udp' } },
    },
  });
  expect(await obstaclesOf(pair)).toEqual([
    { tunTcp: 'environment' },
    { udpGso: 'environment', udpGro: 'environment', tunTcp: 'environment' },
  ]);
});

test('a host that refuses a train gets its datagrams one by one from then on, and status says so', async () => {
  await using scratch = await Scratch.create();
  // Kernels from 6.11 make the checksums themselves, so the refusal of older ones is put in front of this one.
  const shim = join(scratch.path, 'no-checksum.so');
  execFileSync('cc', ['-shared', '-fPIC', '-o', shim, NO_CHECKSUM]);
  await using pair = await startPair({ start: { left: { env: { LD_PRELOAD: shim } } } });
  expect(await obstaclesOf(pair)).toEqual([{}, {}]);
  await transfer(pair);
  expect(await obstaclesOf(pair)).toEqual([{ udpGso: 'eio' }, {}]);
  expect(await pair.left.command('status')).toContain(
    'udp_gso off (the host refused a train: EIO), udp_gro on',
  );
  expect((await pair.left.status()).faults).toMatchObject({ 'sendmmsg EIO': 1 });
});
