// UDP in batches: what arrives is what was sent, from where it was to leave, and no error of one datagram harms another.
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { closeDescriptor, openUdp, READY, SENT_WITHOUT_LOCAL } from '../index.ts';
import { ip, requireTestNamespace, run } from './support/namespace.ts';
import { type Datagram, pattern, TestLane, type TestLaneOptions } from './support/test-lane.ts';

const EPERM = -1;
const EAGAIN = -11;
const EFAULT = -14;
const EINVAL = -22;
const EMSGSIZE = -90;
const EAFNOSUPPORT = -97;
const ENETUNREACH = -101;

const opened: TestLane[] = [];

beforeAll(() => {
  requireTestNamespace();
  ip('-6 address replace fd77:1:2:3:4:5:6:7/128 dev lo nodad');
});
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

function lane(options?: TestLaneOptions): TestLane {
  const made = new TestLane(options);
  opened.push(made);
  return made;
}

/** What differs between the families, so that every test below runs over both. */
const families = [
  {
    family: 4,
    loopback: '127.0.0.1',
    second: '127.0.0.2',
    foreign: '203.0.113.9',
    unreachable: '198.51.100.1',
  },
  {
    family: 6,
    loopback: '::1',
    second: 'fd77:1:2:3:4:5:6:7',
    foreign: '2001:db8::9',
    unreachable: '2001:db8::1',
  },
] as const;

describe.each(families)('over IPv$family', ({ family, loopback, second, foreign, unreachable }) => {
  const port = (to: TestLane) => (family === 4 ? to.port4 : to.port6);
  const datagram = (to: TestLane, payload: Uint8Array, remote: string = loopback): Datagram => ({
    family,
    remote,
    port: port(to),
    payload,
  });

  it('batches of 64 arrive whole, in order, with both addresses', () => {
    const [a, b] = [lane(), lane()];
    for (let batch = 0; batch < 4; batch++) {
      const sent = Array.from({ length: 64 }, (_, index) => pattern(1 + index * 23, batch * 64 + index));
      expect(a.send(...sent.map((payload) => datagram(b, payload)))).toBe(64);
      for (let index = 0; index < 64; index++) expect(a.sendStatus(index)).toBe(0);
      expect(b.receive(64)).toEqual(
        sent.map((payload) => ({
          family,
          payload,
          remote: loopback,
          local: loopback,
          port: port(a),
          scope: 0,
          status: 0,
          segment: 0,
        })),
      );
    }
    expect(a.io.faults()).toEqual([]);
    expect(b.io.faults()).toEqual([]);
    expect(a.io.lastStale).toBe(0);
  });

  it('more than one system call takes still goes in order', () => {
    const [a, b] = [lane({ slots: 200 }), lane({ slots: 200 })];
    const sent = Array.from({ length: 200 }, (_, index) => pattern(100, index));
    expect(a.send(...sent.map((payload) => datagram(b, payload)))).toBe(200);
    expect(b.receive(200).map(({ payload }) => payload)).toEqual(sent);
  });

  it('an empty datagram is an entry of length 0', () => {
    const [a, b] = [lane(), lane()];
    expect(a.send(datagram(b, new Uint8Array()), datagram(b, pattern(5, 1)))).toBe(2);
    expect(b.receive(2).map(({ payload }) => payload.length)).toEqual([0, 5]);
  });

  it('a reply leaves from the address that was asked, and without one from what the kernel chooses', () => {
    const [a, b] = [lane(), lane()];
    a.send({ ...datagram(b, pattern(10, 1), second), local: loopback });
    const [asked] = b.receive(1);
    expect(asked).toMatchObject({ local: second, remote: loopback });
    const reply = { family, remote: loopback, port: port(a), payload: pattern(10, 2) } as const;
    expect(b.send({ ...reply, local: asked?.local ?? '' }, reply)).toBe(2);
    expect(a.receive(2).map(({ remote }) => remote)).toEqual([second, loopback]);
    expect([b.sendStatus(0), b.sendStatus(1), b.io.lastStale]).toEqual([0, 0, 0]);
  });

  it('a stale source is dropped and the datagram sent at once, in its place', () => {
    const [a, b] = [lane(), lane()];
    const good = (seed: number) => datagram(b, pattern(10, seed));
    const stale = (seed: number) => ({ ...good(seed), local: foreign });
    expect(a.send(good(0), stale(1), stale(2), good(3), stale(4))).toBe(5);
    expect([0, 1, 2, 3, 4].map((index) => a.sendStatus(index))).toEqual([
      0,
      SENT_WITHOUT_LOCAL,
      SENT_WITHOUT_LOCAL,
      0,
      SENT_WITHOUT_LOCAL,
    ]);
    expect(a.io.lastStale).toBe(3);
    expect(b.receive(5).map(({ payload, remote }) => ({ payload, remote }))).toEqual(
      [0, 1, 2, 3, 4].map((seed) => ({ payload: pattern(10, seed), remote: loopback })),
    );
    expect(a.io.faults()).toEqual([]);
    a.send(good(5));
    expect(a.io.lastStale).toBe(0);
  });

  it('what cannot be sent with or without its source keeps the reason, and is not stale', () => {
    const [a, b] = [lane(), lane()];
    const bad = { ...datagram(b, pattern(10, 1), unreachable), local: foreign };
    expect(a.send(bad, datagram(b, pattern(10, 2)))).toBe(1);
    expect([a.sendStatus(0), a.sendStatus(1), a.io.lastStale]).toEqual([ENETUNREACH, 0, 0]);
    expect(b.receive(1)[0]?.payload).toEqual(pattern(10, 2));
  });

  it('a datagram longer than its slot is dropped and counted, the others close the gap', () => {
    const [a, b] = [lane({ slotBytes: 3000 }), lane({ slotBytes: 1000 })];
    const lengths = [1000, 1001, 500, 3000, 999];
    a.send(...lengths.map((length, seed) => datagram(b, pattern(length, seed))));
    expect(b.receive(3).map(({ payload }) => payload)).toEqual([
      pattern(1000, 0),
      pattern(500, 2),
      pattern(999, 4),
    ]);
    expect(b.io.faults()).toEqual([{ call: 'recvmmsg', code: 'EMSGSIZE', count: 2 }]);
    // The entries still own their slots.
    a.send(...lengths.map(() => datagram(b, pattern(1000, 9))));
    expect(b.receive(5).map(({ payload }) => payload)).toEqual(lengths.map(() => pattern(1000, 9)));
  });

  it('a port that nobody has open breaks neither sending nor receiving', () => {
    const [a, b] = [lane(), lane()];
    const closed = openUdp({ family, port: 0 });
    closeDescriptor(closed.fd);
    for (let round = 0; round < 3; round++) {
      const refused = { family, remote: loopback, port: closed.port, payload: pattern(10, round) };
      expect(a.send(refused, datagram(b, pattern(10, round)))).toBe(2);
      expect([a.sendStatus(0), a.sendStatus(1)]).toEqual([0, 0]);
      expect(a.io.receiveUdp(a.memory)).toBe(0);
      expect(a.io.wait(0)).toBe(0);
    }
    expect(b.receive(3)).toHaveLength(3);
    expect(a.io.faults()).toEqual([]);
  });

  it('errors of single entries are told and counted, and the rest is sent', () => {
    const [a, b] = [lane(), lane()];
    const good = datagram(b, pattern(10, 1));
    expect(a.send(good, datagram(b, pattern(10, 2), unreachable), { ...good, port: 0 }, good)).toBe(2);
    expect([0, 1, 2, 3].map((index) => a.sendStatus(index))).toEqual([0, ENETUNREACH, EINVAL, 0]);
    expect(b.receive(2)).toHaveLength(2);
    expect(a.io.faults()).toEqual([
      { call: 'sendmmsg', code: 'ENETUNREACH', count: 1 },
      { call: 'sendmmsg', code: 'EINVAL', count: 1 },
    ]);
  });

  it('a datagram beyond what UDP carries is EMSGSIZE', () => {
    const [a, b] = [lane({ slotBytes: 70_000 }), lane()];
    expect(a.send(datagram(b, new Uint8Array(66_000)))).toBe(0);
    expect(a.sendStatus(0)).toBe(EMSGSIZE);
  });

  it('a firewall that forbids one destination costs that datagram only', () => {
    const [a, b, c] = [lane(), lane(), lane()];
    run('nft', 'add', 'table', 'inet', 'forbid');
    try {
      run('nft', 'add', 'chain', 'inet', 'forbid', 'output', '{ type filter hook output priority 0; }');
      run('nft', 'add', 'rule', 'inet', 'forbid', 'output', 'udp', 'dport', String(port(c)), 'drop');
      expect(a.send(datagram(c, pattern(10, 1)), datagram(b, pattern(10, 2)))).toBe(1);
      expect([a.sendStatus(0), a.sendStatus(1)]).toEqual([EPERM, 0]);
      expect(b.receive(1)[0]?.payload).toEqual(pattern(10, 2));
      expect(a.io.faults()).toEqual([{ call: 'sendmmsg', code: 'EPERM', count: 1 }]);
    } finally {
      run('nft', 'delete', 'table', 'inet', 'forbid');
    }
  });
});

describe('both families', () => {
  const to = (target: TestLane, family: 4 | 6, seed: number): Datagram => ({
    family,
    remote: family === 4 ? '127.0.0.1' : '::1',
    port: family === 4 ? target.port4 : target.port6,
    payload: pattern(20, seed),
  });

  it('mix in one send column', () => {
    const [a, b] = [lane(), lane()];
    const mix = ([4, 4, 6, 4, 6, 6, 6, 4] as const).map((family, seed) => to(b, family, seed));
    expect(a.send(...mix)).toBe(8);
    const received = b.receive(8);
    for (const family of [4, 6]) {
      expect(received.filter((each) => each.family === family).map(({ payload }) => payload)).toEqual(
        mix.filter((each) => each.family === family).map(({ payload }) => payload),
      );
    }
  });

  it.each([
    [4, 6],
    [6, 4],
  ] as const)('a flood over IPv%i leaves IPv%i its turn', (flood, other) => {
    const [a, b] = [lane({ slots: 64 }), lane({ slots: 8 })];
    // Two rounds, because the family that goes first alternates.
    for (let round = 0; round < 2; round++) {
      a.send(...Array.from({ length: 60 }, (_, seed) => to(b, flood, seed)), to(b, other, 99));
      expect(b.io.wait(5000)).toBe(READY.udp4 | READY.udp6);
      const filled = b.io.receiveUdp(b.memory);
      expect(filled).toBe(8);
      expect(b.received(filled).filter(({ family }) => family === other)).toHaveLength(1);
      while (b.io.wait(0) !== 0) b.io.receiveUdp(b.memory);
    }
  });

  it('share a single slot by taking turns', () => {
    const [a, b] = [lane(), lane({ slots: 1 })];
    a.send(to(b, 4, 1), to(b, 4, 2), to(b, 4, 3), to(b, 6, 4), to(b, 6, 5), to(b, 6, 6));
    const order = Array.from({ length: 6 }, () => {
      expect(b.io.receiveUdp(b.memory)).toBe(1);
      return b.received(1)[0]?.family;
    });
    expect(order.slice(0, 2).toSorted()).toEqual([4, 6]);
    expect(order.slice(2, 4).toSorted()).toEqual([4, 6]);
    expect(b.io.receiveUdp(b.memory)).toBe(0);
  });

  it('only the sockets named by `ready` are read', () => {
    const [a, b] = [lane(), lane()];
    a.send(to(b, 4, 1), to(b, 6, 2));
    expect(b.io.receiveUdp(b.memory, READY.udp6)).toBe(1);
    expect(b.received(1)[0]?.family).toBe(6);
    expect(b.io.receiveUdp(b.memory, READY.udp6)).toBe(0);
    expect(b.io.receiveUdp(b.memory, READY.udp4)).toBe(1);
  });

  it('a flood of oversized datagrams ends the call after as many as there are slots', () => {
    const [a, b] = [lane({ slots: 64 }), lane({ slots: 4, slotBytes: 8 })];
    a.send(...Array.from({ length: 10 }, (_, seed) => to(b, 4, seed)));
    for (const dropped of [4, 8, 10, 10]) {
      expect(b.io.receiveUdp(b.memory)).toBe(0);
      expect(b.io.faults()).toEqual([{ call: 'recvmmsg', code: 'EMSGSIZE', count: dropped }]);
    }
  });
});

describe('entries', () => {
  it('of no family, or of one with no socket, are EAFNOSUPPORT', () => {
    const [a, b] = [lane(), lane()];
    const good: Datagram = { family: 4, remote: '127.0.0.1', port: b.port4, payload: pattern(10, 1) };
    a.send(good, good, good);
    const view = new DataView(a.memory);
    view.setUint16(a.sendEntry(1) + 24, 0, true);
    expect(a.io.sendUdp(a.memory, 3)).toBe(2);
    expect([0, 1, 2].map((index) => a.sendStatus(index))).toEqual([0, EAFNOSUPPORT, 0]);
  });

  it.each([
    ['begins at the end', (size: number) => [size, 1]],
    ['reaches past the end', (size: number) => [size - 9, 10]],
    ['wraps in 32 bit', () => [0xffff_fff0, 0x20]],
    ['has an enormous length', () => [0, 0xffff_ffff]],
  ] as const)('whose payload %s are EFAULT', (_, place) => {
    const [a, b] = [lane(), lane()];
    const good: Datagram = { family: 4, remote: '127.0.0.1', port: b.port4, payload: pattern(10, 1) };
    a.send(good, good);
    const view = new DataView(a.memory);
    const [offset = 0, length = 0] = place(a.memory.byteLength);
    view.setUint32(a.sendEntry(0), offset, true);
    view.setUint32(a.sendEntry(0) + 4, length, true);
    expect(a.io.sendUdp(a.memory, 2)).toBe(1);
    expect([a.sendStatus(0), a.sendStatus(1)]).toEqual([EFAULT, 0]);
    expect(a.io.faults()).toEqual([{ call: 'sendmmsg', code: 'EFAULT', count: 1 }]);
  });

  it.each([0, 2])('whose slot %i lies outside the memory end the receiving there', (bad) => {
    const [a, b] = [lane(), lane()];
    const good: Datagram = { family: 4, remote: '127.0.0.1', port: b.port4, payload: pattern(10, 1) };
    a.send(good, good, good, good);
    new DataView(b.memory).setUint32(b.column.receive + bad * 64 + 8, 0xffff_ffff, true);
    expect(b.io.receiveUdp(b.memory)).toBe(bad === 0 ? EFAULT : bad);
    expect(b.io.faults()).toEqual([{ call: 'recvmmsg', code: 'EFAULT', count: bad === 0 ? 2 : 2 }]);
  });

  it('keep peer, offset and capacity through a receive', () => {
    const [a, b] = [lane(), lane()];
    const view = new DataView(b.memory, b.column.receive, 64);
    view.setUint32(16, 0xdecade, true);
    const before = [view.getUint32(0, true), view.getUint32(8, true)];
    a.send({ family: 4, remote: '127.0.0.1', port: b.port4, payload: pattern(10, 1) });
    b.receive(1);
    expect([view.getUint32(0, true), view.getUint32(8, true), view.getUint32(16, true)]).toEqual([
      ...before,
      0xdecade,
    ]);
  });
});

it('a link-local peer is told from its twin on another link by scope', () => {
  const [a, b] = [lane(), lane()];
  ip('link add near0 type veth peer name near1');
  try {
    for (const end of ['near0', 'near1']) {
      ip(`link set dev ${end} addrgenmode none up`);
      ip(`-6 address add fe80:0:0:0:0:0:0:7/64 dev ${end} nodad`); // the same address on two links
    }
    for (const end of ['near0', 'near1']) {
      const scope = Number(/^\d+/.exec(ip(`-o link show dev ${end}`))?.[0]);
      const remote = 'fe80:0:0:0:0:0:0:7';
      expect(a.send({ family: 6, remote, port: b.port6, scope, payload: pattern(10, 1) })).toBe(1);
      const [asked] = b.receive(1);
      expect(asked).toMatchObject({ remote, local: remote, scope });
      expect(
        b.send({ family: 6, remote, local: remote, port: a.port6, scope, payload: pattern(10, 2) }),
      ).toBe(1);
      expect(b.sendStatus(0)).toBe(0);
      expect(a.receive(1)[0]).toMatchObject({ payload: pattern(10, 2), scope });
    }
  } finally {
    ip('link delete dev near0');
  }
});

it('a send buffer that stays full costs a bounded wait, then EAGAIN, and recovers', () => {
  const a = lane({ sendBufferBytes: 4096 });
  ip('link add full0 type veth peer name full1');
  try {
    ip('address add 10.80.0.1/24 dev full0');
    ip('link set dev full1 up');
    ip('link set dev full0 up');
    // Nobody answers for this address, so the neighbour's queue keeps the datagrams and their memory.
    const away: Datagram = { family: 4, remote: '10.80.0.2', port: 9, payload: pattern(1400, 1) };
    const before = performance.now();
    const sent = a.send(...Array.from({ length: 64 }, () => away));
    expect(performance.now() - before).toBeLessThan(1000);
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThan(64);
    expect(a.sendStatus(sent)).toBe(EAGAIN);
    expect(a.sendStatus(63)).toBe(EAGAIN);
    expect(a.io.faults()).toEqual([{ call: 'sendmmsg', code: 'EAGAIN', count: 64 - sent }]);
    ip('neighbour replace 10.80.0.2 lladdr 02:00:00:00:00:02 dev full0');
    expect(a.send(away)).toBe(1);
  } finally {
    ip('link delete dev full0');
  }
});

/** What a host grants: all of it to its own root, up to its limit to the root of a user namespace. */
function granted(limit: string, bytes: number): number {
  const isHostRoot = readFileSync('/proc/self/uid_map', 'utf8').trim().endsWith('4294967295');
  return isHostRoot ? bytes : Math.min(bytes, Number(readFileSync(`/proc/sys/net/core/${limit}`, 'utf8')));
}

describe('openUdp', () => {
  it('tells the port it got, which is then in use', () => {
    const { fd, port } = openUdp({ family: 4, port: 0 });
    expect(port).toBeGreaterThan(0);
    expect(() => openUdp({ family: 4, port })).toThrow(
      expect.objectContaining({
        code: 'EADDRINUSE',
        syscall: 'bind',
        message: expect.stringContaining(`UDP over IPv4 on port ${port}`),
      }),
    );
    // IPv6 takes IPv6 only, so the same port is free there.
    const other = openUdp({ family: 6, port });
    expect(other.port).toBe(port);
    closeDescriptor(other.fd);
    closeDescriptor(fd);
    const again = openUdp({ family: 4, port });
    closeDescriptor(again.fd);
  });

  it('sets buffers beyond the limit of the host, and the mark', () => {
    const { fd, port } = openUdp({
      family: 4,
      port: 0,
      receiveBufferBytes: 9 << 20,
      sendBufferBytes: 7 << 20,
      mark: 0xfedcba98,
    });
    const shown = run('ss', '-uanem', 'sport', '=', `:${port}`);
    closeDescriptor(fd);
    expect(shown).toContain(`rb${2 * granted('rmem_max', 9 << 20)},`); // the kernel doubles what it is asked for
    expect(shown).toContain(`tb${2 * granted('wmem_max', 7 << 20)},`);
    expect(shown).toContain('fwmark:0xfedcba98');
  });
});
