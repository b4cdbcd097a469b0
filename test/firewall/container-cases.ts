// Containers as Docker has them: a bridge of the host, a wire from it into the namespace of each, and Docker's own rules, which
// drop what is forwarded and what asks for a container by its own address.
//
//   outside ─ wan ┐                         ┌ web  172.17.0.2, fd17::2
//   client  ─ lan ┼ node ─ docker0 .1, ::1 ─┤
//   alice   ─ rf0 ┘                         └ cron 172.17.0.3, fd17::3

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from '../../src/bench/topology.ts';
import type { HostBackend } from '../../src/policy/host.ts';
import {
  at,
  HostRules,
  LAN,
  OVERLAY_NET,
  type OverlayHost,
  overlayHost,
  ruleset,
  WAN,
} from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

const VERSIONS = [4, 6] as const;
const BRIDGE = { v4: '172.17.0', v6: 'fd17::' };
const REFUSED = { error: 'ECONNREFUSED' };
const SILENCE = { error: 'silence' };

function docker(version: 4 | 6): string {
  const [web, network] = version === 4 ? ['172.17.0.2/32', '172.17.0.0/16'] : ['fd17::2/128', 'fd17::/64'];
  return `*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d ${web} ! -i docker0 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s ${network} ! -o docker0 -j MASQUERADE
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
COMMIT
`;
}

/** A host behind the bridge. */
async function container(net: OverlayHost, name: string, number: number): Promise<Host> {
  const host = await net.topology.host(name);
  await net.topology.connect(
    { host: net.node, device: `veth-${name}`, addresses: [] },
    { host, device: 'eth0', addresses: [`${at(BRIDGE, number, 4)}/16`, `${at(BRIDGE, number, 6)}/64`] },
  );
  // A container that asks for itself: where bridges call iptables, packets go back by the port that they came from.
  await net.node.ipBatch(
    `link set veth-${name} master docker0`,
    `link set veth-${name} type bridge_slave hairpin on`,
  );
  await host.ipBatch(`route add default via ${at(BRIDGE, 1, 4)}`, `route add ::/0 via ${at(BRIDGE, 1, 6)}`);
  return host;
}

export function containerCases(backend: HostBackend, kind: 'nft' | 'legacy'): void {
  describe(`a host with containers, by ${backend}, Docker by iptables-${kind}`, () => {
    let net: OverlayHost;
    let rules: HostRules;
    let web: Prober;
    let cron: Prober;
    let before = '';

    beforeAll(async () => {
      net = await overlayHost();
      rules = await HostRules.create(net.node, backend);
      await net.node.ipBatch(
        'link add name docker0 type bridge',
        `address add ${at(BRIDGE, 1, 4)}/16 dev docker0`,
        `address add ${at(BRIDGE, 1, 6)}/64 dev docker0 nodad`,
        'link set docker0 up',
      );
      [web, cron] = [
        Prober.start(await container(net, 'web', 2)),
        Prober.start(await container(net, 'cron', 3)),
      ];
      await net.node.exec(`iptables-${kind}-restore`, [], { input: docker(4) });
      await net.node.exec(`ip6tables-${kind}-restore`, [], { input: docker(6) });
      before = await ruleset(net.node);
      for (const any of ['0.0.0.0', '::']) {
        await web.listen('tcp', any, 8080);
        await web.listen('udp', any, 8080);
      }
      const row = (version: 4 | 6, proto: string) => ({
        owner: `container/web${version}`,
        proto,
        ports: { '80': 8080 },
        to: at(BRIDGE, 2, version),
        hairpin: true,
        localhost: version === 4,
      });
      const publish = VERSIONS.flatMap((version) => [row(version, 'tcp'), row(version, 'udp')]);
      await rules.start({ nat: { publish } });
    });

    afterAll(async () => {
      await rules[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
    });

    test.each(VERSIONS)(
      'IPv%i: everybody gets to the container by the published port, and only so',
      async (version) => {
        const [node, client, outside, alice] = [net.node, net.client, net.outside, net.alice].map((host) =>
          Prober.start(host),
        ) as [Prober, Prober, Prober, Prober];
        const [wan, lan, overlay] = [WAN, LAN, OVERLAY_NET].map((one) => at(one, 1, version)) as [
          string,
          string,
          string,
        ];
        const bridge = at(BRIDGE, 1, version);
        for (const protocol of ['tcp', 'udp'] as const) {
          // Those from beyond keep their addresses.
          expect(await outside.knock(protocol, wan, 80)).toEqual({
            by: 'web',
            as: at(WAN, 9, version),
            at: 8080,
          });
          expect(await client.knock(protocol, lan, 80)).toEqual({
            by: 'web',
            as: at(LAN, 6, version),
            at: 8080,
          });
          expect(await alice.knock(protocol, overlay, 80)).toMatchObject({
            by: 'web',
            as: at(OVERLAY_NET, 2, version),
          });
          // Its neighbour, itself and the host, which have a shorter way back.
          expect(await cron.knock(protocol, wan, 80)).toEqual({ by: 'web', as: bridge, at: 8080 });
          expect(await web.knock(protocol, wan, 80)).toEqual({ by: 'web', as: bridge, at: 8080 });
          for (const address of [wan, lan, overlay, bridge]) {
            expect(await node.knock(protocol, address, 80)).toMatchObject({ by: 'web', at: 8080 });
          }
        }
        if (version === 4) expect(await node.knock('tcp', '127.0.0.1', 80)).toMatchObject({ by: 'web' });
        expect(await outside.knock('tcp', wan, 8080)).toEqual(REFUSED);
        expect(await outside.knockInVain('tcp', at(BRIDGE, 2, version), 8080)).toEqual(SILENCE);
      },
    );

    test("Docker's rules are as they were, while ours are there and after them", async () => {
      const foreign = (text: string) =>
        text.split('\n').filter((line) => /docker|DOCKER/.test(line) && !/rf[:_]|RF-/.test(line));
      expect(foreign(await ruleset(net.node)).toSorted()).toEqual(foreign(before).toSorted());
      await rules.stop();
      expect(await ruleset(net.node)).toBe(before);
    });
  });
}
