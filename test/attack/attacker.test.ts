// The attacker first proves itself: what wireguard-go takes for a peer is one, and is then turned on ours.

import { describe, expect, test } from 'vitest';
import { attackRingfence, attackWireguardGo } from '../support/attacker/attack.ts';
import { OVERLAY } from '../support/node-process.ts';
import { ping } from '../support/traffic.ts';

describe.each([
  { name: 'wireguard-go', attack: attackWireguardGo },
  { name: 'ours', attack: attackRingfence },
])('$name takes the attacker for a peer', ({ attack }) => {
  test.each([
    { underlay: 'v4', presharedKey: false },
    { underlay: 'v6', presharedKey: true },
  ] as const)('that begins, over $underlay, preshared key $presharedKey', async (row) => {
    await using ground = await attack(row);
    const { attacker } = ground;
    const session = await attacker.initiate();
    await attacker.ping(session, 'v4');
    await attacker.ping(session, 'v6');
    // A second handshake, as at a rekey; the first session still receives.
    const next = await attacker.initiate();
    await attacker.ping(next, 'v4');
    const { packet, echo } = attacker.echo();
    await attacker.send(session.seal(packet));
    expect(await attacker.delivered(next, [echo])).toEqual([echo]);
  });

  test.each([
    { underlay: 'v4', presharedKey: true },
    { underlay: 'v6', presharedKey: false },
  ] as const)('that answers, over $underlay, preshared key $presharedKey', async (row) => {
    await using ground = await attack({ ...row, isKnown: true });
    const { attacker, net } = ground;
    const pinging = ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 1_000 });
    const initiation = await attacker.initiated();
    expect(Buffer.from(initiation.staticKey)).toEqual(attacker.options.target.publicKey);
    const { message, session } = attacker.answer(initiation);
    await attacker.send(message);
    // The packet that began it is what comes first.
    const first = await attacker.take((datagram) => attacker.open(datagram), 'the ping');
    expect([first[0], ...first.subarray(12, 20)]).toEqual([0x45, 10, 9, 0, 2, 10, 9, 0, 1]);
    await attacker.ping(session, 'v4');
    await attacker.ping(session, 'v6');
    expect(await pinging).toMatchObject({ sent: 1, received: 0 }); // the attacker answers nothing by itself
  });
});
