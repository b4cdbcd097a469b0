// Members of networks as rules of the host: alice and bob in n1, carol in n2, all three with the internet.

import { expect, test } from 'vitest';
import type { Host } from '../../src/bench/topology.ts';
import type { HostBackend } from '../../src/policy/host.ts';
import { at, HostRules, OVERLAY_NET, overlayHost } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

const WORLD = { 4: '9.9.9.9', 6: '2620:fe::9' } as const;
const VERSIONS = [4, 6] as const;
const SILENCE = { error: 'silence' };
const PORT = 443;

function section(members: readonly string[]) {
  const strict = (names: readonly string[]) => ({ isolation: 'strict', members: names });
  const std = { profile: 'std' };
  return {
    host: { mirror: 'on' },
    peers: { alice: std, bob: std, carol: std },
    profiles: { std: { internet: true } },
    networks: { n1: strict(members), n2: strict(['carol']) },
  };
}

/** A tunnel has no neighbours to ask for, and the policy no word for those questions: both ends know the way. */
async function acquainted(node: Host, peer: Host, last: number): Promise<void> {
  const ways = [
    [node, 'rf0', peer, 'eth0', last],
    [peer, 'eth0', node, 'rf0', 1],
  ] as const;
  for (const [host, device, other, otherDevice, number] of ways) {
    const [link] = JSON.parse(await other.ip('-json', 'link', 'show', otherDevice)) as [{ address: string }];
    await host.ipBatch(
      ...VERSIONS.map((version) => {
        const address = at(OVERLAY_NET, number, version);
        return `neighbour replace ${address} lladdr ${link.address} dev ${device} nud permanent`;
      }),
    );
  }
}

export function isolationCases(backend: HostBackend): void {
  test(`by ${backend}: members reach each other, the node and the internet, and nobody else; who leaves leaves the others`, async () => {
    await using net = await overlayHost();
    await using rules = await HostRules.create(net.node, backend);
    await net.outside.ipBatch(
      `address add ${WORLD[4]}/32 dev lo`,
      `address add ${WORLD[6]}/128 dev lo nodad`,
    );
    await net.node.ipBatch('route add 0.0.0.0/0 via 203.0.113.9', 'route add ::/0 via 2001:db8:9::9');
    const [node, alice, bob, carol, outside] = [net.node, net.alice, net.bob, net.carol, net.outside].map(
      (host) => Prober.start(host),
    ) as [Prober, Prober, Prober, Prober, Prober];
    const everywhere = (['tcp', 'udp'] as const).flatMap((protocol) => [
      ...[node, alice, bob, carol].flatMap((prober) =>
        ['0.0.0.0', '::'].map((any) => prober.listen(protocol, any, PORT)),
      ),
      ...Object.values(WORLD).map((address) => outside.listen(protocol, address, PORT)),
    ]);
    await Promise.all(everywhere);
    await Promise.all(
      (
        [
          [net.alice, 2],
          [net.bob, 3],
          [net.carol, 4],
        ] as const
      ).map(([peer, last]) => acquainted(net.node, peer, last)),
    );
    const number = { node: 1, alice: 2, bob: 3, carol: 4 } as const;
    const reaches = async (from: Prober, to: keyof typeof number) => {
      for (const version of VERSIONS) {
        const address = at(OVERLAY_NET, number[to], version);
        for (const protocol of ['tcp', 'udp'] as const) {
          expect(await from.knock(protocol, address, PORT)).toMatchObject({ by: to });
        }
      }
    };
    const never = async (from: Prober, ...to: readonly (keyof typeof number)[]) => {
      const knocks = to.flatMap((name) =>
        VERSIONS.flatMap((version) =>
          (['tcp', 'udp'] as const).map((protocol) =>
            from.knockInVain(protocol, at(OVERLAY_NET, number[name], version), PORT),
          ),
        ),
      );
      expect(await Promise.all(knocks)).toEqual(knocks.map(() => SILENCE));
    };

    await rules.start(section(['alice', 'bob']));
    await reaches(alice, 'bob');
    await reaches(bob, 'alice');
    await reaches(alice, 'node');
    await never(alice, 'carol');
    await never(carol, 'alice', 'bob');
    for (const version of VERSIONS) {
      const self = at(OVERLAY_NET, 2, version);
      expect(await alice.knock('tcp', WORLD[version], PORT)).toEqual({ by: 'outside', as: self, at: PORT });
      expect(await alice.knock('udp', WORLD[version], PORT)).toEqual({ by: 'outside', as: self, at: PORT });
    }
    await rules.update(section(['bob']));
    await never(alice, 'bob', 'carol', 'node');
    await never(bob, 'alice', 'carol');
    await reaches(bob, 'node');
    for (const version of VERSIONS) {
      expect(await bob.knock('tcp', WORLD[version], PORT)).toMatchObject({ by: 'outside' });
    }
  });
}
