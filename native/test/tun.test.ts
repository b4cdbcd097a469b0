// TUN interfaces: opening, names, real ICMP packets read and written, and what happens when the interface goes.
import { spawn } from 'node:child_process';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { closeDescriptor, openTun, READY, SystemCallError, tunName } from '../index.ts';
import { ip, requireTestNamespace } from './support/namespace.ts';
import { TestLane } from './support/test-lane.ts';

const EIO = -5;
const EINVAL = -22;
const EBADFD = -77;

const opened: { close(): void }[] = [];

beforeAll(requireTestNamespace);
afterEach(() => {
  for (const each of opened.splice(0).reverse()) each.close();
});

function open(name: string, exclusive = true): { fd: number; name: string } {
  const tun = openTun({ name, exclusive });
  opened.push({ close: () => closeDescriptor(tun.fd) });
  return tun;
}

function lane(): TestLane {
  const made = new TestLane();
  opened.push(made);
  return made;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof SystemCallError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('opening', () => {
  it('makes the interface, which goes with its descriptor', () => {
    const { fd, name } = openTun({ name: 'made0', exclusive: true });
    expect(name).toBe('made0');
    expect(ip('-o link show dev made0')).toContain('made0');
    closeDescriptor(fd);
    expect(() => ip('link show dev made0')).toThrow(/does not exist/);
  });

  it.each([
    ['', /^tun\d+$/],
    ['wg%d', /^wg\d+$/],
    ['fifteen-letters', /^fifteen-letters$/],
  ])('of "%s" is named by the kernel', (name, expected) => {
    const tun = open(name);
    expect(tun.name).toMatch(expected);
    expect(tunName(tun.fd)).toBe(tun.name);
  });

  it('is refused while someone has it open', () => {
    open('busy0', false);
    expect(() => open('busy0', false)).toThrow(
      expect.objectContaining({
        name: 'SystemCallError',
        code: 'EBUSY',
        errno: -16,
        syscall: 'ioctl(TUNSETIFF)',
        message: expect.stringContaining('cannot open the TUN interface "busy0"'),
      }),
    );
  });

  it('takes over an interface that nobody has open, unless exclusive', () => {
    ip('tuntap add dev kept0 mode tun');
    try {
      expect(codeOf(() => open('kept0', true))).toBe('EBUSY');
      expect(open('kept0', false).name).toBe('kept0');
    } finally {
      ip('link delete dev kept0');
    }
  });

  it.each(['sixteen-letters-', 'ünïcödé-wörld', 'zero\0byte'])('refuses the name "%s"', (name) => {
    expect(() => open(name)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }));
  });

  it('refuses a name with a slash, as the kernel does', () => {
    expect(codeOf(() => open('a/b'))).toBe('EINVAL');
  });

  it('follows a renamed interface, and refuses to name what is no TUN', () => {
    const { fd } = open('before0');
    ip('link set dev before0 name after0');
    expect(tunName(fd)).toBe('after0');
    expect(codeOf(() => tunName(0))).toMatch(/^(ENOTTY|EINVAL)$/);
  });
});

describe('frames', () => {
  it.each([
    { family: '-4', own: '10.77.0.1/24', other: '10.77.0.2' },
    { family: '-6', own: 'fd77::1/64', other: 'fd77::2' },
  ])('ping $family is answered through the TUN', async ({ family, own, other }) => {
    const io = lane();
    ip(`address add ${own} dev ${io.name}${family === '-6' ? ' nodad' : ''}`);
    ip(`link set dev ${io.name} up`);
    const ping = spawn('ping', [family, '-c', '20', '-i', '0.01', '-s', '1000', '-W', '5', other]);
    let output = '';
    ping.stdout.on('data', (chunk) => {
      output += chunk;
    });
    let exitCode: number | null = null;
    const exited = new Promise<void>((resolve) => {
      ping.on('exit', (code) => {
        exitCode = code ?? 1;
        resolve();
      });
    });
    while (exitCode === null) {
      if ((io.io.wait(10) & READY.tun) !== 0) {
        const replies = io
          .framesRead(io.io.readTun(io.memory))
          .map(echoReply)
          .filter((reply) => reply !== undefined);
        expect(io.write(...replies)).toBe(replies.length);
        for (const index of replies.keys()) expect(io.writeStatus(index)).toBe(0);
      }
      await nextTurn(); // the child's exit arrives through the event loop
    }
    await exited;
    expect(output).toContain('20 received');
    expect(io.io.faults()).toEqual([]);
  });

  it('are written until one fails, which is counted, and on after it', () => {
    const io = lane();
    ip(`address add 10.78.0.1/24 dev ${io.name}`);
    const packet = echoRequest();
    expect(io.write(packet)).toBe(0);
    expect(io.writeStatus(0)).toBe(EIO); // the interface is down
    ip(`link set dev ${io.name} up`);
    expect(io.write(packet, Uint8Array.of(0, 1, 2, 3), packet)).toBe(2);
    expect([0, 1, 2].map((index) => io.writeStatus(index))).toEqual([0, EINVAL, 0]);
    expect(io.io.faults()).toEqual([
      { call: 'write', code: 'EIO', count: 1 },
      { call: 'write', code: 'EINVAL', count: 1 },
    ]);
    // The host answers both echo requests, so they did arrive.
    const replies: Uint8Array[] = [];
    const deadline = performance.now() + 5000;
    while (replies.length < 2 && performance.now() < deadline) {
      io.io.wait(100);
      replies.push(
        ...io.framesRead(io.io.readTun(io.memory)).filter((frame) => frame[0] === 0x45 && frame[20] === 0),
      );
    }
    expect(replies).toHaveLength(2);
  });

  it('leave the unread ones for the next call when all slots are full', () => {
    const io = new TestLane({ slots: 4 });
    opened.push(io);
    ip(`address add 10.79.0.1/24 dev ${io.name}`);
    ip(`link set dev ${io.name} up`);
    drain(io);
    for (let batch = 0; batch < 3; batch++) {
      for (let index = 0; index < 2; index++) {
        io.send({ family: 4, remote: '10.79.0.2', port: 9, payload: Uint8Array.of(batch * 2 + index) });
      }
    }
    const first = io.io.readTun(io.memory);
    const payloads = io.framesRead(first).map((frame) => frame.at(-1));
    const second = io.io.readTun(io.memory);
    payloads.push(...io.framesRead(second).map((frame) => frame.at(-1)));
    expect([first, second, io.io.readTun(io.memory)]).toEqual([4, 2, 0]);
    expect(payloads).toEqual([0, 1, 2, 3, 4, 5]);
  });
});

it('an interface deleted while open ends wait and readTun with a reason', () => {
  const io = lane();
  expect(io.io.wait(0)).toBe(0);
  ip(`link delete dev ${io.name}`);
  expect(io.io.wait(5000)).toBe(READY.tunGone);
  expect(io.io.readTun(io.memory)).toBe(EBADFD);
  expect(io.write(echoRequest())).toBe(0);
  expect(io.writeStatus(0)).toBe(EBADFD);
  expect(codeOf(() => tunName(io.tun))).toBe('EBADFD');
  expect(io.io.faults()).toEqual([
    { call: 'read', code: 'EBADFD', count: 1 },
    { call: 'write', code: 'EBADFD', count: 1 },
  ]);
});

/** Reads what the host says by itself on a new interface, such as multicast reports. */
function drain(io: TestLane): void {
  while (io.io.wait(20) !== 0) io.io.readTun(io.memory);
}

/** The reply to an ICMP echo request: addresses swapped, type changed, checksum mended. Undefined for other frames. */
function echoReply(frame: Uint8Array): Uint8Array | undefined {
  const reply = frame.slice();
  const isV4 = (frame[0] ?? 0) >> 4 === 4;
  const [source, length, icmp, request, answer] = isV4 ? [12, 4, 20, 8, 0] : [8, 16, 40, 128, 129];
  if (frame[isV4 ? 9 : 6] !== (isV4 ? 1 : 58) || frame[icmp] !== request) return undefined;
  reply.set(frame.subarray(source + length, source + 2 * length), source);
  reply.set(frame.subarray(source, source + length), source + length);
  reply[icmp] = answer;
  const view = new DataView(reply.buffer);
  let sum = view.getUint16(icmp + 2) + ((request - answer) << 8) + (isV4 ? 0 : 0xffff);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  view.setUint16(icmp + 2, sum);
  return reply;
}

/** An ICMP echo request from 10.78.0.2 to 10.78.0.1. */
function echoRequest(): Uint8Array {
  // biome-ignore format: one line per header
  const packet = Uint8Array.of(
    0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 10, 78, 0, 2, 10, 78, 0, 1,
    8, 0, 0, 0, 0, 1, 0, 1,
  );
  const view = new DataView(packet.buffer);
  view.setUint16(10, checksum(packet.subarray(0, 20)));
  view.setUint16(22, checksum(packet.subarray(20)));
  return packet;
}

function checksum(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
