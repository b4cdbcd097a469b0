// Thousands of packets under random policies, one put in force as a change of the last: the rules of the host judge as the
// evaluator does, also of flows that are older than the policy, both ways, and of those that the host translates.

import { describe, expect, test } from 'vitest';
import type { Host } from '../../src/bench/topology.ts';
import { askHost } from '../support/ask-host.ts';
import { at, HostRules, LAN, OVERLAY_NET, overlayHost } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

test('nft judges twenty thousand packets as the evaluator does', async () => {
  const { cases, difference } = await askHost({
    backend: 'nft',
    policies: 60,
    packets: 300,
    seed: 2_026,
    breaks: 'nothing',
  });
  expect(difference).toBeNull();
  expect(cases).toBeGreaterThan(20_000);
}, 180_000);

describe.concurrent('by iptables', () => {
  const BACKENDS = ['iptables-nft', 'iptables-legacy'] as const;

  test.each(BACKENDS)(
    '%s judges nine thousand packets as the evaluator does',
    async (backend) => {
      const { cases, difference } = await askHost({
        backend,
        policies: 25,
        packets: 300,
        seed: 2_026,
        breaks: 'nothing',
      });
      expect(difference).toBeNull();
      expect(cases).toBeGreaterThan(9_000);
    },
    180_000,
  );

  const spoiled = BACKENDS.flatMap((backend) =>
    (['a rule', 'an answer'] as const).map((breaks) => ({ backend, breaks })),
  );
  test.each(spoiled)(
    '$backend is found out where $breaks is spoiled',
    async (one) => {
      const { difference } = await askHost({ ...one, policies: 3, packets: 150, seed: 7 });
      expect(difference).toMatch(/in .*, which should be .*; out true, which should be false/);
    },
    60_000,
  );
});

test.each(['nft', 'iptables-nft', 'iptables-legacy'])(
  '%s: who the file has masqueraded into the tunnel is this node there, and nobody else of the LAN',
  async (backend) => {
    await using net = await overlayHost();
    await using rules = await HostRules.create(net.node, backend);
    const [bob, client, server] = [net.bob, net.client, net.server].map((host) => Prober.start(host)) as [
      Prober,
      Prober,
      Prober,
    ];
    // A tunnel has no neighbours to discover.
    const macOf = async (host: Host, device: string): Promise<string> =>
      /link\/ether (\S+)/.exec(await host.exec('ip', ['link', 'show', 'dev', device]))?.[1] ?? '';
    const neighbour = (number: number, mac: string): string =>
      `neigh replace ${at(OVERLAY_NET, number, 6)} lladdr ${mac} nud permanent`;
    await net.node.ipBatch(`${neighbour(3, await macOf(net.bob, 'eth0'))} dev rf0`);
    await net.bob.ipBatch(`${neighbour(1, await macOf(net.node, 'rf0'))} dev eth0`);
    await bob.listen('tcp', '0.0.0.0', 80);
    await bob.listen('tcp', '::', 80);
    const masquerade = [`${at(LAN, 6, 4)}/32`, `${at(LAN, 6, 6)}/128`].map((from) => ({ from, out: 'rf0' }));
    await rules.start({ host: { mirror: 'on' }, nat: { masquerade } });
    for (const version of [4, 6] as const) {
      const target = at(OVERLAY_NET, 3, version);
      const node = at(OVERLAY_NET, 1, version);
      expect(await client.knock('tcp', target, 80)).toMatchObject({ by: 'bob', as: node });
      expect(await server.knockInVain('tcp', target, 80)).toEqual({ error: 'silence' });
    }
  },
  60_000,
);
