// A flood at a port of a host whose rules change meanwhile: what comes to a port that is closed.

import { expect } from 'vitest';
import { until } from './deadline.ts';
import { at, HostRules, overlayHost, WAN } from './overlay-host.ts';
import { Prober } from './prober.ts';

/** How long a flood goes on: until both are reached. */
export interface FloodLength {
  readonly changes: number;
  readonly datagrams: number;
}

/**
 * How many datagrams came to the port after it was closed. `backendAt` says by what the rules are after so many changes.
 * Fails unless it was open before, and unless the rules have dropped `dropped` datagrams since they came from this backend.
 */
export async function leaked(
  backendAt: (times: number) => string,
  { changes, datagrams }: FloodLength = { changes: 100, datagrams: 1_000_000 },
  dropped = 1,
): Promise<number> {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node, backendAt(0));
  const counted = Prober.start(net.node).count('0.0.0.0', 13669);
  const flood = Prober.start(net.outside).flood(at(WAN, 1, 4), 13669);
  const inbound = (times: number) => ({
    host: {
      backend: backendAt(times),
      inbound: [13669, 2000 + (times % 50)].map((port) => ({
        name: `p${port}`,
        proto: 'udp',
        port,
        from: ['overlay'],
      })),
    },
  });
  const droppedNow = async () => Number((await rules.status()).counters['rf_inbound']);
  // Open, it does get through: the receiver and the sender are what they should be.
  await until(() => counted.received > 100, 10_000, 'an open port receives');
  await rules.start(inbound(0));
  await until(async () => (await droppedNow()) > 0, 10_000, 'it is closed');
  // What was on its way when it closed has been counted once five tellings say the same.
  let still = { received: -1, tellings: 0 };
  await until(
    () => {
      const { received, tellings } = counted;
      if (received !== still.received) still = { received, tellings };
      return tellings - still.tellings >= 5;
    },
    20_000,
    'nothing comes any more',
  );
  const [closedAt, sentBefore] = [counted.received, flood.sent];
  for (let times = 1; times <= changes || flood.sent - sentBefore < datagrams; times++) {
    await rules.update(inbound(times));
  }
  expect(flood.sent - sentBefore).toBeGreaterThanOrEqual(datagrams);
  await until(async () => (await droppedNow()) >= dropped, 10_000, 'they were dropped here');
  return counted.received - closedAt;
}
