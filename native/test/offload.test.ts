// Trains and gathered frames: what one system call carries is on the other side what many would have carried.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { closeDescriptor, openTun } from '../index.ts';
import { ip, requireTestNamespace, run } from './support/namespace.ts';
import { pattern, type Received, TestLane, type TestLaneOptions } from './support/test-lane.ts';

const UDP_PAYLOAD = 28;
/** What support/send-trains.ts sends: this train, the single datagram, the train again. */
const TRAIN = pattern(2010, 5);
const TRAIN_SEGMENT = 1000;
const SINGLE = pattern(77, 1);

const opened: TestLane[] = [];

beforeAll(requireTestNamespace);
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

function lane(options: TestLaneOptions): TestLane {
  const made = new TestLane({ slotBytes: 65_536, slots: 8, ...options });
  opened.push(made);
  return made;
}

/** The datagrams of a train. */
function cars({ payload, segment }: Pick<Received, 'payload' | 'segment'>): Uint8Array[] {
  if (segment === 0) return [payload];
  return Array.from({ length: Math.ceil(payload.length / segment) }, (_, index) =>
    payload.slice(index * segment, (index + 1) * segment),
  );
}

describe.each([
  { family: 4, loopback: '127.0.0.1' },
  { family: 6, loopback: '::1' },
] as const)('a train over IPv$family', ({ family, loopback }) => {
  const payload = pattern(4 * 1000 + 700, 3);
  const train = (to: TestLane) => ({
    family,
    remote: loopback,
    port: family === 4 ? to.port4 : to.port6,
    payload,
    segment: 1000,
  });

  it('arrives as its datagrams where trains are not asked for', () => {
    const [a, b] = [lane({ gro: true }), lane({})];
    expect(a.send(train(b))).toBe(1);
    expect(a.sendStatus(0)).toBe(0);
    const received = b.receive(5);
    expect(received.map(({ payload: each }) => each)).toEqual(cars({ payload, segment: 1000 }));
    expect(received.every(({ segment }) => segment === 0)).toBe(true);
  });

  it('arrives whole where they are, and single datagrams beside it', () => {
    const [a, b] = [lane({ gro: true }), lane({ gro: true })];
    expect(a.send(train(b), { ...train(b), payload: pattern(300, 9), segment: 0 })).toBe(2);
    const received = b.receive(2);
    expect(received.map(({ payload: each, segment }) => [each.length, segment])).toEqual([
      [4700, 1000],
      [300, 0],
    ]);
    expect(received[0]?.payload).toEqual(payload);
    expect(a.io.gsoWorks).toBe(true);
  });
});

it.each([
  { family: 4, loopback: '127.0.0.1' },
  { family: 6, loopback: '::1' },
] as const)(
  'a train whose datagrams the way does not take whole leaves singly, IPv$family',
  ({ family, loopback }) => {
    const [a, b] = [lane({ gro: true }), lane({})];
    ip('link set dev lo mtu 1300');
    try {
      const payload = pattern(3 * 1400 + 50, 6);
      const train = {
        family,
        remote: loopback,
        port: family === 4 ? b.port4 : b.port6,
        payload,
        segment: 1400,
      };
      const small = { ...train, payload: pattern(2100, 7), segment: 1000 };
      expect(a.send(small, { ...train, local: loopback }, small)).toBe(3);
      expect([0, 1, 2].map((index) => a.sendStatus(index))).toEqual([0, 0, 0]);
      expect(a.io.lastStale).toBe(0);
      expect(a.io.gsoWorks).toBe(true);
      expect(a.io.faults()).toMatchObject([
        { call: 'sendmmsg', code: expect.stringMatching(/EMSGSIZE|EINVAL/), count: 1 },
      ]);
      const received = b.receive(10).map(({ payload: each }) => each);
      expect(received).toEqual([...cars(small), ...cars(train), ...cars(small)]);
    } finally {
      ip('link set dev lo mtu 65536');
    }
  },
);

it('a train that the host refuses for want of checksums leaves datagram by datagram, and so do the next', () => {
  // Kernels from 6.11 make the checksums themselves, so the refusal of older ones is put in front of this one.
  const shim = join(tmpdir(), `no-checksum-${process.pid}.so`);
  run(
    'cc',
    '-shared',
    '-fPIC',
    '-o',
    shim,
    fileURLToPath(new URL('./support/no-checksum.c', import.meta.url)),
  );
  const receiver = lane({});
  const script = fileURLToPath(new URL('./support/send-trains.ts', import.meta.url));
  const output = execFileSync(process.execPath, [script, String(receiver.port4)], {
    encoding: 'utf8',
    // Behind what is preloaded already: a sanitizer must come first.
    env: { ...process.env, LD_PRELOAD: [process.env['LD_PRELOAD'], shim].filter(Boolean).join(':') },
  });
  rmSync(shim);
  expect(JSON.parse(output)).toEqual({
    sent: 3,
    statuses: [0, 0, 0],
    gsoWorks: false,
    faults: [{ call: 'sendmmsg', code: 'EIO', count: 1 }],
  });
  const train = cars({ payload: TRAIN, segment: TRAIN_SEGMENT });
  expect(receiver.receive(7).map(({ payload }) => payload)).toEqual([...train, SINGLE, ...train]);
});

it('a frame in pieces is written as one', () => {
  const [io, listener] = [lane({}), lane({})];
  ip(`address add 10.80.0.1/24 dev ${io.name}`);
  ip(`link set dev ${io.name} up`);
  const payload = pattern(500, 4);
  const packet = udpPacket('10.80.0.2', '10.80.0.1', listener.port4, payload);
  const pieces = [packet.slice(0, 21), packet.slice(21, 300), packet.slice(300)];
  expect(io.writePieces(...pieces)).toBe(1);
  expect(io.writeStatus(2)).toBe(0);
  expect(listener.receive(1)[0]?.payload).toEqual(payload);
});

it('vnet headers come with the offloads of the kernel, and not without', () => {
  const plain = openTun({ name: '', exclusive: true });
  const withHeader = openTun({ name: '', exclusive: true, vnetHeader: true });
  expect([plain.tcpOffload, plain.udpOffload]).toEqual([false, false]);
  expect(withHeader.tcpOffload).toBe(true);
  for (const { fd } of [plain, withHeader]) closeDescriptor(fd);
});

it.each([
  { tcpOffload: false, udpOffload: false },
  { tcpOffload: true, udpOffload: false },
  { tcpOffload: false, udpOffload: true },
])('superpackets as asked for: $tcpOffload, $udpOffload', (asked) => {
  const whole = openTun({ name: '', exclusive: true, vnetHeader: true });
  const tun = openTun({ name: '', exclusive: true, vnetHeader: true, ...asked });
  const has = { tcpOffload: whole.tcpOffload, udpOffload: whole.udpOffload }; // Linux before 6.2 lacks the second
  expect(tun).toMatchObject({
    tcpOffload: asked.tcpOffload && has.tcpOffload,
    udpOffload: asked.udpOffload && has.udpOffload,
  });
  for (const { fd } of [whole, tun]) closeDescriptor(fd);
});

/** IPv4 and UDP without checksums, which UDP may leave out; the IP one is made. */
function udpPacket(source: string, destination: string, port: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(UDP_PAYLOAD + payload.length);
  const view = new DataView(packet.buffer);
  packet.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
  view.setUint16(2, packet.length);
  packet.set(source.split('.').map(Number), 12);
  packet.set(destination.split('.').map(Number), 16);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  view.setUint16(10, ~sum & 0xffff);
  view.setUint16(20, 9);
  view.setUint16(22, port);
  view.setUint16(24, 8 + payload.length);
  packet.set(payload, UDP_PAYLOAD);
  return packet;
}
