// The protocol's timers in real time, with the attacker as a peer that is silent when the test wants it. Times are those of
// the node: the timestamps in its initiations, and what the paper says has to pass before a message may come.

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { attackRingfence } from '../support/attacker/attack.ts';
import type { Attacker } from '../support/attacker/attacker.ts';
import type { ReceivedInitiation } from '../support/attacker/noise.ts';
import { ClockShift } from '../support/clock-shift.ts';
import { OVERLAY, Scratch } from '../support/node-process.ts';
import { ping } from '../support/traffic.ts';

/** A timestamp as milliseconds. */
function millisOf(initiation: ReceivedInitiation): number {
  const time = Buffer.from(initiation.timestamp);
  return Number(time.readBigUInt64BE(0) & 0xffff_ffffn) * 1_000 + time.readUInt32BE(8) / 1e6;
}

/** A datagram that the node's kernel takes and answers nothing to: an echo reply nobody asked for. */
function quietPacket(attacker: Attacker): Uint8Array {
  const packet = Buffer.from(attacker.echo().packet);
  packet[20] = 0; // echo reply instead of request: eight less in the sum
  packet.writeUInt16BE((packet.readUInt16BE(22) + 0x0800) % 0xffff, 22);
  return packet;
}

/** Milliseconds until a datagram comes that `isIt` is true of. */
async function msUntil(
  attacker: Attacker,
  isIt: (datagram: Uint8Array) => boolean,
  what: string,
  deadlineMs: number,
) {
  const began = performance.now();
  await attacker.take((datagram) => (isIt(datagram) ? true : undefined), what, deadlineMs);
  return performance.now() - began;
}

describe.concurrent('in real time', () => {
  test('an unanswered initiation is repeated every 5 s and a little, for 90 s, and then no more', async () => {
    await using ground = await attackRingfence({ isKnown: true, name: 't-retry' });
    const { attacker, net } = ground;
    await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    const times: number[] = [];
    for (;;) {
      const next = await attacker.initiated(10_000).catch(() => undefined); // 10 s without one: it has given up
      if (next === undefined) break;
      times.push(millisOf(next));
    }
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    expect(times.length).toBeGreaterThanOrEqual(16);
    expect(times.length).toBeLessThanOrEqual(20);
    // Cut to a grid of 17 ms each.
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(4_980);
    expect(new Set(gaps.map((gap) => Math.round(gap / 20))).size).toBeGreaterThan(3);
    // The next packet begins anew.
    await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    const session = await attacker.respond();
    await attacker.ping(session);
  });

  test('data received and nothing to say: an empty message after 10 s, and none for that one', async () => {
    await using ground = await attackRingfence({ name: 't-keep' });
    const { attacker } = ground;
    const session = await attacker.initiate();
    await attacker.ping(session);
    attacker.skip();
    await attacker.send(session.seal(quietPacket(attacker)));
    const waited = await msUntil(attacker, (datagram) => datagram.length === 32, 'an empty message', 15_000);
    expect(waited).toBeGreaterThan(9_500);
    await attacker.send(session.seal(new Uint8Array())); // a keepalive is not answered by one
    await delay(12_000);
    expect(attacker.pending).toEqual([]);
  });

  test('data sent and nothing heard for 15 s: a handshake', async () => {
    await using ground = await attackRingfence({ name: 't-dead' });
    const { attacker, net } = ground;
    const session = await attacker.initiate();
    await attacker.ping(session);
    attacker.skip();
    await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    const waited = await msUntil(attacker, (datagram) => datagram[0] === 1, 'an initiation', 20_000);
    expect(waited).toBeGreaterThan(14_500);
  });

  test('the initiator of a session asks for a new one when it sends after 120 s, and loses nothing', async () => {
    await using ground = await attackRingfence({ isKnown: true, name: 't-rekey' });
    const { attacker, net } = ground;
    await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    const first = await attacker.initiated();
    const { message, session } = attacker.answer(first);
    await attacker.send(message);
    await attacker.confirmed(session);
    for (;;) {
      await attacker.ping(session); // the node sends its answer
      const again = await attacker.initiated(2_000).catch(() => undefined);
      if (again === undefined) continue;
      const age = millisOf(again) - millisOf(first);
      expect(age).toBeGreaterThan(119_900);
      expect(age).toBeLessThan(130_000);
      // The old session serves while the new one is agreed, and after it.
      await attacker.ping(session);
      const next = attacker.answer(again);
      await attacker.send(next.message);
      await attacker.confirmed(next.session);
      await attacker.ping(session);
      await attacker.ping(next.session);
      return;
    }
  });

  test('the responder asks for nothing by age, and a key of 180 s passes nothing', async () => {
    await using ground = await attackRingfence({ name: 't-reject' });
    const { attacker } = ground;
    const session = await attacker.initiate();
    const began = performance.now();
    while (performance.now() - began < 165_000) {
      await attacker.ping(session);
      await delay(5_000);
    }
    expect(attacker.socket.received.filter((datagram) => datagram[0] === 1)).toEqual([]);
    await delay(181_000 - (performance.now() - began));
    const { packet, echo } = attacker.echo();
    await attacker.send(session.seal(packet));
    const next = await attacker.initiate();
    attacker.skip();
    expect(await attacker.delivered(next, [echo])).toEqual([]);
  });

  test('timestamps grow while the wall clock jumps by an hour and a day, ahead and back', async () => {
    await using scratch = await Scratch.create();
    const clock = await ClockShift.build(scratch.path);
    await using ground = await attackRingfence({ isKnown: true, name: 't-clock', env: clock.env });
    const { attacker, net } = ground;
    const pinging = ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    const times: number[] = [];
    for (const shift of [3_600, -3_600, 86_400, -86_400, 0]) {
      times.push(millisOf(await attacker.initiated(15_000)));
      await clock.set(shift);
    }
    await pinging;
    expect(times).toEqual([...new Set(times)].toSorted((a, b) => a - b));
    // And a handshake completes in the end.
    await attacker.ping(await attacker.respond({}, 15_000));
  });
});
