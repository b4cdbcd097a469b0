// The link of a TUN: word of what changes, also in another namespace, which must not outlive those who leave it; and
// what can be done to a socket or a TUN that is open already.
import { closeSync, openSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  adoptTun,
  closeDescriptor,
  openTun,
  openUdp,
  READY,
  SystemCallError,
  setLinkMtu,
  setMark,
} from '../index.ts';
import { ip, requireTestNamespace } from './support/namespace.ts';
import { pattern, TestLane } from './support/test-lane.ts';

const opened: { close(): void }[] = [];

beforeAll(requireTestNamespace);
afterEach(() => {
  for (const each of opened.splice(0).reverse()) each.close();
});

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

/** Takes off the TUN what the host says by itself, until it says something of the link. */
function untilLink(a: TestLane): void {
  for (let waits = 0; waits < 100; waits++) {
    const ready = a.io.wait(5000);
    if ((ready & READY.link) !== 0) return;
    a.io.readTun(a.memory);
  }
  throw new Error('nothing was said of the link');
}

describe('the link', () => {
  it('is told of once somebody asked, and read as `ip` sets it', () => {
    const a = lane();
    expect(a.io.link()).toEqual({ mtu: 1500, isUp: false, isWatched: true });
    ip(`link set dev ${a.name} mtu 1300`);
    untilLink(a);
    expect(a.io.link()).toEqual({ mtu: 1300, isUp: false, isWatched: true });
    ip(`link set dev ${a.name} up`);
    untilLink(a);
    expect(a.io.link()).toMatchObject({ isUp: true });
    ip(`link set dev ${a.name} down name renamed0`);
    untilLink(a);
    expect(a.io.link()).toEqual({ mtu: 1300, isUp: false, isWatched: true });
  });

  it('is followed to another namespace and back, and does not keep that namespace', () => {
    const a = lane();
    a.io.link();
    ip('netns add elsewhere');
    try {
      ip(`link set dev ${a.name} netns elsewhere`);
      untilLink(a);
      expect(a.io.link()).toEqual({ mtu: 1500, isUp: false, isWatched: false });
      ip(`-n elsewhere link set dev ${a.name} mtu 1400 up`);
      expect(a.io.link()).toEqual({ mtu: 1400, isUp: true, isWatched: false });
      ip(`-n elsewhere link set dev ${a.name} netns 1`);
      expect(a.io.link()).toMatchObject({ isWatched: true });
      ip(`link set dev ${a.name} netns elsewhere`);
      expect(a.io.link()).toMatchObject({ isWatched: false });
    } finally {
      ip('netns delete elsewhere');
    }
    // The kernel takes a namespace down when it has time; until then other events may be there at once, again and again.
    const end = performance.now() + 60_000;
    while ((a.io.wait(100) & READY.tunGone) === 0 && performance.now() < end) a.io.link();
    expect(a.io.wait(0) & READY.tunGone).toBe(READY.tunGone);
    expect(a.io.link()).toBeUndefined();
  }, 90_000);

  it('is given an MTU', () => {
    const a = lane();
    setLinkMtu(a.tun, 1420);
    expect(ip(`-o link show dev ${a.name}`)).toContain('mtu 1420');
    expect(() => setLinkMtu(a.tun, 67)).toThrow(RangeError);
    expect(codeOf(() => setLinkMtu(a.udp4, 1420))).toBe('ENOTTY');
  });
});

describe('sockets', () => {
  it('take the place of others, which stay open', () => {
    const [a, b] = [lane(), lane()];
    const other = openUdp({ family: 4, port: 0 });
    a.io.setSockets(other.fd, undefined);
    b.send({ family: 4, remote: '127.0.0.1', port: a.port4, payload: pattern(1, 1) });
    expect(a.io.wait(20)).toBe(0);
    b.send({ family: 4, remote: '127.0.0.1', port: other.port, payload: pattern(1, 1) });
    expect(a.io.wait(5000)).toBe(READY.udp4);
    expect(a.io.receiveUdp(a.memory)).toBe(1);
    a.io.setSockets(a.udp4, a.udp6);
    closeDescriptor(other.fd);
    expect(a.io.wait(5000)).toBe(READY.udp4); // what came in between
    expect(codeOf(() => a.io.setSockets(99_999, undefined))).toBe('EBADF');
  });

  it('are marked while they are open', () => {
    const udp = openUdp({ family: 4, port: 0 });
    opened.push({ close: () => closeDescriptor(udp.fd) });
    setMark(udp.fd, 0xffff_ffff);
    setMark(udp.fd, 0);
    expect(() => setMark(udp.fd, -1)).toThrow(RangeError);
    expect(codeOf(() => setMark(99_999, 1))).toBe('EBADF');
  });
});

describe('a TUN that somebody else has opened', () => {
  it('is taken, with or without its header', () => {
    for (const vnetHeader of [false, true]) {
      const tun = openTun({ name: 'theirs%d', exclusive: true, vnetHeader });
      const taken = adoptTun(tun.fd);
      expect(taken).toMatchObject({ fd: tun.fd, name: tun.name, vnetHeader, tcpOffload: vnetHeader });
      closeDescriptor(taken.fd);
    }
  });

  it('is refused if it is none', () => {
    const file = openSync('/dev/null', 'r');
    expect(codeOf(() => adoptTun(file))).toBe('ENOTTY');
    closeSync(file);
    expect(codeOf(() => adoptTun(99_999))).toBe('EBADF');
  });
});
