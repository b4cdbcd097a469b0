// A whole turn in one call: what it hands over, what it takes in, and what it says of both.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nowMs, READY, REPORT, wake } from '../index.ts';
import { ip, requireTestNamespace } from './support/namespace.ts';
import { type Datagram, pattern, TestLane } from './support/test-lane.ts';

const EBADF = -9;

const opened: TestLane[] = [];

beforeAll(requireTestNamespace);
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

function lane(): TestLane {
  const made = new TestLane();
  opened.push(made);
  return made;
}

function reportOf({ io }: TestLane) {
  const { datagrams, frames, stale } = REPORT;
  return { datagrams: io.report[datagrams], frames: io.report[frames], stale: io.report[stale] };
}

function to(other: TestLane, payload: Uint8Array, local?: string): Datagram {
  const datagram = { family: 4, remote: '127.0.0.1', port: other.port4, payload } as const;
  return local === undefined ? datagram : { ...datagram, local };
}

describe('exchange', () => {
  it('sends what waits in the send column and receives what is there', () => {
    const [a, b] = [lane(), lane()];
    a.send(to(b, pattern(100, 1)), to(b, pattern(1400, 2))); // leaves them in the column
    expect(b.receive(2)).toHaveLength(2);
    expect(a.io.exchange(a.memory, 0, 2, 0)).toBe(0);
    expect(reportOf(a)).toEqual({ datagrams: 0, frames: 0, stale: 0 });
    expect(b.io.exchange(b.memory, 0, 0, nowMs() + 5000)).toBe(READY.udp4);
    let count = b.io.report[REPORT.datagrams] ?? 0;
    const payloads = b.received(count).map(({ payload }) => payload);
    while (payloads.length < 2) {
      expect(b.io.exchange(b.memory, 0, 0, nowMs() + 5000)).toBe(READY.udp4);
      count = b.io.report[REPORT.datagrams] ?? 0;
      payloads.push(...b.received(count).map(({ payload }) => payload));
    }
    expect(payloads).toEqual([pattern(100, 1), pattern(1400, 2)]);
    expect(b.io.exchange(b.memory, 0, 0, 0)).toBe(0);
    expect(reportOf(b)).toEqual({ datagrams: 0, frames: 0, stale: 0 });
  });

  it('takes in all of a burst that follows a single datagram, in order', () => {
    const [a, b] = [lane(), lane()];
    a.send(to(b, pattern(10, 200)));
    expect(b.receive(1)).toHaveLength(1);
    const burst = Array.from({ length: 40 }, (_, index) => pattern(10, index));
    expect(a.send(...burst.map((payload) => to(b, payload)))).toBe(40);
    expect(b.io.exchange(b.memory, 0, 0, nowMs() + 5000)).toBe(READY.udp4);
    expect(b.received(b.io.report[REPORT.datagrams] ?? 0).map(({ payload }) => payload)).toEqual(burst);
  });

  it('writes what waits in the write column and reads the answer to it', () => {
    const a = lane();
    ip(`address add 10.82.0.1/24 dev ${a.name}`);
    ip(`link set dev ${a.name} up`);
    expect(a.write(echoRequest('10.82.0.2', '10.82.0.1'))).toBe(1); // leaves it in the column
    const answers = (): Uint8Array[] =>
      a.framesRead(a.io.report[REPORT.frames] ?? 0).filter((frame) => frame[9] === 1); // ICMP, and not what the host says
    const until = nowMs() + 5000;
    const seen: Uint8Array[] = [];
    while (seen.length < 1 && nowMs() < until) {
      a.io.exchange(a.memory, 0, 0, until);
      seen.push(...answers());
    }
    expect(a.io.exchange(a.memory, 1, 0, until) & READY.tun).toBe(READY.tun);
    seen.push(...answers());
    while (seen.length < 2 && nowMs() < until) {
      a.io.exchange(a.memory, 0, 0, until);
      seen.push(...answers());
    }
    for (const answer of seen) {
      expect([...answer.subarray(12, 21)]).toEqual([10, 82, 0, 1, 10, 82, 0, 2, 0]); // addresses, echo reply
    }
    expect(seen).toHaveLength(2);
  });

  it('says how many messages left without their stale source', () => {
    const [a, b] = [lane(), lane()];
    a.send(to(b, pattern(10, 1), '203.0.113.9'), to(b, pattern(10, 2)));
    expect(a.io.exchange(a.memory, 0, 2, 0)).toBe(0);
    expect(reportOf(a)).toEqual({ datagrams: 0, frames: 0, stale: 1 });
    expect(a.io.exchange(a.memory, 0, 0, 0)).toBe(0);
    expect(reportOf(a)).toEqual({ datagrams: 0, frames: 0, stale: 0 });
  });

  it('waits until its time has come or its event is woken, and says what time it is', () => {
    const a = lane();
    const until = nowMs() + 20.5;
    expect(a.io.exchange(a.memory, 0, 0, until)).toBe(0);
    expect(a.io.report[REPORT.nowMs]).toBeGreaterThanOrEqual(until);
    expect(a.io.report[REPORT.nowMs]).toBeLessThanOrEqual(nowMs());
    wake(a.event);
    expect(a.io.exchange(a.memory, 0, 0, Number.POSITIVE_INFINITY)).toBe(READY.woken);
  });

  it('refuses what cannot be meant, and is over after close', () => {
    const a = lane();
    const code = (text: string) => expect.objectContaining({ code: text });
    expect(() => a.io.exchange(a.memory, a.slots + 1, 0, 0)).toThrow(code('ERR_OUT_OF_RANGE'));
    expect(() => a.io.exchange(a.memory, 0, -1, 0)).toThrow(code('ERR_OUT_OF_RANGE'));
    expect(() => a.io.exchange(a.memory, 0, 0, Number.NaN)).toThrow(code('ERR_INVALID_ARG_TYPE'));
    expect(() => a.io.exchange(new ArrayBuffer(64), 0, 0, 0)).toThrow(code('ERR_OUT_OF_RANGE'));
    expect(a.io.exchange(a.memory, 0, 0, 0)).toBe(0);
    structuredClone(a.memory, { transfer: [a.memory] });
    expect(() => a.io.exchange(a.memory, 0, 0, 0)).toThrow('detached');
    a.io.close();
    expect(a.io.exchange(new ArrayBuffer(1 << 20), 0, 0, 0)).toBe(EBADF);
  });
});

/** An IPv4 packet with an ICMP echo request. RFC 792. */
function echoRequest(from: string, destination: string): Uint8Array {
  const packet = new Uint8Array(28);
  packet.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1]);
  packet.set(from.split('.').map(Number), 12);
  packet.set(destination.split('.').map(Number), 16);
  packet.set([8, 0, 0, 0, 0, 1, 0, 1], 20);
  const view = new DataView(packet.buffer);
  view.setUint16(10, checksum(packet.subarray(0, 20)));
  view.setUint16(22, checksum(packet.subarray(20)));
  return packet;
}

/** RFC 1071, over an even number of bytes. */
function checksum(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += view.getUint16(at);
  return ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
}
