// Published ports, 1:1 and SNAT, met by packets of the world, the LAN, the overlay and the host itself.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HostBackend } from '../../src/policy/host.ts';
import { until } from '../support/deadline.ts';
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
import { type DatagramStream, Prober } from '../support/prober.ts';

const VERSIONS = [4, 6] as const;
const REFUSED = { error: 'ECONNREFUSED' };

/** Networks behind peers, and a host of each at which they come from. */
const SITES = [
  {
    peer: 'bob',
    number: 3,
    subnets: { 4: '10.5.0.0/24', 6: 'fd05::/64' },
    host: { 4: '10.5.0.7', 6: 'fd05::7' },
  },
  {
    peer: 'alice',
    number: 2,
    subnets: { 4: '10.6.0.0/24', 6: 'fd06::/64' },
    host: { 4: '10.6.0.7', 6: 'fd06::7' },
  },
] as const;

type SiteHost = (typeof SITES)[number]['host'];

/** The peer has an address of its site as well, which it uses when asked to, and the node the way there. */
async function behind(
  net: OverlayHost,
  { peer, number, subnets, host }: (typeof SITES)[number],
): Promise<void> {
  await net[peer].ipBatch(
    `address add ${host[4]}/32 dev eth0`,
    `address add ${host[6]}/128 dev eth0 nodad preferred_lft 0`,
  );
  const routes = VERSIONS.map(
    (version) => `route add ${subnets[version]} via ${at(OVERLAY_NET, number, version)}`,
  );
  await net.node.ipBatch(...routes);
}

function api(version: 4 | 6, to: string): Readonly<Record<string, unknown>> & { readonly owner: string } {
  const owner = `svc/api${version}`;
  return { owner, listen: 'overlay', proto: 'tcp', ports: { '3000': 8080 }, to, from: ['site:bob'] };
}

export function natCases(backend: HostBackend): void {
  describe(`a host that publishes, by ${backend}`, () => {
    let net: OverlayHost;
    let rules: HostRules;
    let node: Prober;
    let alice: Prober;
    let bob: Prober;
    let server: Prober;
    let client: Prober;
    let outside: Prober;
    let before = '';

    beforeAll(async () => {
      net = await overlayHost();
      // Two external addresses, and a neighbour of the world to whom packets only pass through.
      await net.node.ipBatch(
        'address add 203.0.113.2/32 dev wan',
        'address add 203.0.113.3/32 dev wan',
        'address add 2001:db8:9::2/128 dev wan nodad',
        'address add 2001:db8:9::3/128 dev wan nodad',
      );
      await Promise.all(SITES.map(async (site) => await behind(net, site)));
      rules = await HostRules.create(net.node, backend);
      [node, alice, bob, server, client, outside] = [
        net.node,
        net.alice,
        net.bob,
        net.server,
        net.client,
        net.outside,
      ].map((host) => Prober.start(host)) as [Prober, Prober, Prober, Prober, Prober, Prober];
      before = await ruleset(net.node);
      const any = ['0.0.0.0', '::'];
      await Promise.all(
        any.flatMap((address) => [
          server.listen('tcp', address, 80, 8080, 8000, 8001, 7000, 7001),
          server.listen('udp', address, 53, 8080),
          client.listen('tcp', address, 80, 8080),
          bob.listen('tcp', address, 80, 8080),
          outside.listen('tcp', address, 80, 8080, 3000),
        ]),
      );
      await rules.start(web());
    });

    afterAll(async () => {
      await rules[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
    });

    function web(): Readonly<Record<string, unknown>> {
      const ports = { '80': 8080, '8000-8001': 'same', '9000-9001': 7000 };
      const rows = VERSIONS.flatMap((version) => {
        const [one, two] = [at(WAN, 1, version), at(WAN, 2, version)];
        const [first, second] = [at(LAN, 5, version), at(LAN, 6, version)];
        const tcp = { proto: 'tcp', hairpin: true };
        return [
          { ...tcp, owner: `svc/web${version}`, listen: one, ports, to: first, localhost: version === 4 },
          { ...tcp, owner: `svc/other${version}`, listen: two, ports: { '80': 8080 }, to: second },
          {
            ...tcp,
            owner: `svc/any${version}`,
            ports: { '8090': 8080 },
            to: first,
          },
          { owner: `svc/udp${version}`, listen: one, proto: 'udp', ports: { '8081': 8080 }, to: first },
          api(version, first),
        ];
      });
      const peer = {
        owner: 'svc/peer',
        proto: 'tcp',
        ports: { '8088': 8080 },
        to: 'bob',
        source: 'masquerade',
      };
      return {
        sites: Object.fromEntries(
          SITES.map(({ peer: name, subnets }) => [name, { subnets: Object.values(subnets) }]),
        ),
        nat: { publish: [...rows, { ...peer, hairpin: true }] },
      };
    }

    test.each(VERSIONS)(
      'IPv%i: one port, several, a range, another range, two addresses and two backends',
      async (version) => {
        const [one, two] = [at(WAN, 1, version), at(WAN, 2, version)];
        const source = at(WAN, 9, version);
        expect(await outside.knock('tcp', one, 80)).toEqual({ by: 'server', as: source, at: 8080 });
        expect(await outside.knock('tcp', one, 8001)).toEqual({ by: 'server', as: source, at: 8001 });
        expect(await outside.knock('tcp', one, 9001)).toEqual({ by: 'server', as: source, at: 7001 });
        expect(await outside.knock('tcp', two, 80)).toEqual({ by: 'client', as: source, at: 8080 });
        expect(await outside.knock('tcp', one, 8088)).toMatchObject({ by: 'bob' });
        expect(await outside.knock('udp', one, 8081)).toEqual({ by: 'server', as: source, at: 8080 });
        expect(await outside.knock('tcp', one, 8002)).toEqual(REFUSED);
        expect(await outside.knock('tcp', one, 8081)).toEqual(REFUSED);
        expect(await outside.knock('tcp', two, 8000)).toEqual(REFUSED);
        expect(await outside.knock('tcp', at(WAN, 3, version), 80)).toEqual(REFUSED);
      },
    );

    test.each(VERSIONS)(
      'IPv%i: what only passes through to the same port stays what it is',
      async (version) => {
        // bob's own port 80 at his own address; the LAN's way to the world.
        expect(await alice.knock('tcp', at(OVERLAY_NET, 3, version), 80)).toMatchObject({
          by: 'bob',
          at: 80,
        });
        expect(await client.knock('tcp', at(WAN, 9, version), 80)).toMatchObject({ by: 'outside', at: 80 });
      },
    );

    test.each(VERSIONS)(
      'IPv%i: neighbours of the backend, itself and the host get there by the published address',
      async (version) => {
        const one = at(WAN, 1, version);
        const host = at(LAN, 1, version);
        expect(await client.knock('tcp', one, 80)).toMatchObject({ by: 'server', as: host });
        expect(await server.knock('tcp', one, 80)).toMatchObject({ by: 'server', as: host });
        expect(await node.knock('tcp', one, 80)).toMatchObject({ by: 'server', at: 8080 });
        for (const address of [one, at(WAN, 2, version), host]) {
          expect(await node.knock('tcp', address, 8090)).toMatchObject({ by: 'server', at: 8080 });
          expect(await client.knock('tcp', address, 8090)).toMatchObject({ by: 'server', as: host });
        }
        // Of the host itself where it is asked for, and not elsewhere.
        const loopback = version === 4 ? '127.0.0.1' : '::1';
        if (version === 4)
          expect(await node.knock('tcp', loopback, 80)).toMatchObject({ by: 'server', at: 8080 });
        expect(await node.knock('tcp', loopback, 8090)).toEqual(REFUSED);
        expect(Number((await rules.status()).counters[`rf_publish_svc/web${version}_tcp`])).toBeGreaterThan(
          0,
        );
      },
    );

    test('a port of our overlay address is that of a site, and follows its target', async () => {
      const own = (version: 4 | 6) => at(OVERLAY_NET, 1, version);
      const [here, there] = SITES.map(({ host }) => host) as [SiteHost, SiteHost];
      for (const version of VERSIONS) {
        const [from, others] = [here[version], there[version]];
        const answer = { by: 'server', as: from, at: 8080 };
        expect(await bob.knock('tcp', own(version), 3000, from)).toEqual(answer);
        // Neither peers nor another site, nor other addresses of the host and other ports; what passes through goes on.
        expect(await bob.knock('tcp', own(version), 3000)).toEqual(REFUSED);
        expect(await alice.knock('tcp', own(version), 3000)).toEqual(REFUSED);
        expect(await alice.knock('tcp', own(version), 3000, others)).toEqual(REFUSED);
        expect(await outside.knock('tcp', at(WAN, 1, version), 3000)).toEqual(REFUSED);
        expect(await bob.knock('tcp', at(WAN, 1, version), 3000, from)).toEqual(REFUSED);
        expect(await bob.knock('tcp', at(LAN, 1, version), 3000, from)).toEqual(REFUSED);
        expect(await bob.knock('tcp', own(version), 3001, from)).toEqual(REFUSED);
        expect(await bob.knock('tcp', at(WAN, 9, version), 3000, from)).toMatchObject({
          by: 'outside',
          at: 3000,
        });
      }
      const { nat, ...others } = web() as { nat: { publish: { owner: string }[] } };
      const rest = nat.publish.filter(({ owner }) => !owner.startsWith('svc/api'));
      const moved = VERSIONS.map((version) => api(version, at(LAN, 6, version)));
      await rules.update({ ...others, nat: { publish: [...rest, ...moved] } });
      for (const version of VERSIONS) {
        const from = here[version];
        expect(await bob.knock('tcp', own(version), 3000, from)).toEqual({
          by: 'client',
          as: from,
          at: 8080,
        });
      }
      await rules.update({ ...others, nat: { publish: rest } });
      for (const version of VERSIONS) {
        expect(await bob.knock('tcp', own(version), 3000, here[version])).toEqual(REFUSED);
      }
    });

    test('open flows live through a crash and a new start, and through a change of other rows', async () => {
      const flows = VERSIONS.map((version) => outside.hold(at(WAN, 1, version), 80));
      const streams = VERSIONS.map((version) => outside.stream(at(WAN, 1, version), 8081));
      const expectEchoes = async (text: string) => {
        expect(await Promise.all(flows.map(async (flow) => await flow.echo(text)))).toEqual([text, text]);
      };
      await expectEchoes('before');
      await until(() => streams.every(({ answers }) => answers.length > 0), 5_000, 'answers to datagrams');
      rules.process.signal('SIGKILL');
      await rules.process.exited;
      await expectEchoes('without');
      rules.restart(net.node);
      await rules.start(web());
      await expectEchoes('after');
      const masquerade = [{ from: 'overlay', out: 'wan' }];
      await rules.update({ ...web(), nat: { ...(web() as { nat: object }).nat, masquerade } });
      await expectEchoes('and changed');
      // Each datagram has had its answer: there is a moment in which none is on its way.
      for (const stream of streams) {
        await until(() => stream.answers.length === stream.sent, 10_000, 'no datagram was lost');
        expect(stream.sent).toBeGreaterThan(10);
      }
    });

    test('a UDP client that sends already is translated from the moment of the row, and not after it', async () => {
      const udp = VERSIONS.map((version) => ({
        owner: `svc/dns${version}`,
        listen: at(WAN, 1, version),
        proto: 'udp',
        ports: { '53': 'same' },
        to: at(LAN, 5, version),
      }));
      const tcp = udp.map((row) => ({
        ...row,
        owner: `tcp/${row.owner}`,
        proto: 'tcp',
        ports: { '53': 80 },
      }));
      await rules.update({ nat: { publish: tcp } });
      const streams = VERSIONS.map((version) => outside.stream(at(WAN, 1, version), 53));
      const all = async (what: string, isSo: (stream: DatagramStream, i: number) => boolean) =>
        await until(() => streams.every(isSo), 10_000, what);
      await all('datagrams before there is a row', ({ sent }) => sent > 3);
      await rules.update({ nat: { publish: [...udp, ...tcp] } });
      await all('an answer from the backend', ({ answers }) => answers.includes('server'));
      for (const { listen } of tcp) {
        expect(await outside.knock('tcp', listen, 53)).toMatchObject({ by: 'server', at: 80 });
      }
      // One protocol goes, the other stays.
      await rules.update({ nat: { publish: udp } });
      for (const { listen } of tcp) expect(await outside.knock('tcp', listen, 53)).toEqual(REFUSED);
      const answered = streams.map(({ answers }) => answers.length);
      await all('answers go on', ({ answers }, i) => answers.length > (answered[i] ?? 0));
      await rules.update({ nat: { publish: [] } });
      const refused = streams.map((stream) => stream.refused);
      await all('nobody serves it any more', (stream, i) => stream.refused > (refused[i] ?? 0));
    });

    test('an address for another, both ways, and a network for another', async () => {
      await net.outside.ipBatch(
        `route add 10.55.0.0/24 via ${at(WAN, 1, 4)}`,
        `route add fd55::/64 via ${at(WAN, 1, 6)}`,
      );
      await rules.update({
        nat: {
          one_to_one: [
            { ext: '203.0.113.3', int: '192.168.7.5' },
            { ext: '2001:db8:9::2', int: 'fd07::5' },
            { ext: '10.55.0.0/24', int: '192.168.7.0/24' },
            { ext: 'fd55::/64', int: 'fd07::/64' },
          ],
          snat: [
            { from: '10.9.0.2', out: 'wan', to: '203.0.113.2' },
            { from: 'fd09::2', out: 'wan', to: '2001:db8:9::3' },
          ],
        },
      });
      expect(await outside.knock('tcp', '203.0.113.3', 80)).toMatchObject({
        by: 'server',
        as: at(WAN, 9, 4),
      });
      expect(await outside.knock('tcp', '2001:db8:9::2', 80)).toMatchObject({ by: 'server' });
      expect(await outside.knock('tcp', '10.55.0.6', 80)).toMatchObject({ by: 'client' });
      expect(await outside.knock('tcp', 'fd55::6', 80)).toMatchObject({ by: 'client' });
      expect(await server.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ as: '203.0.113.3' });
      expect(await server.knock('tcp', at(WAN, 9, 6), 80)).toMatchObject({ as: '2001:db8:9::2' });
      expect(await client.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ as: '10.55.0.6' });
      expect(await client.knock('tcp', at(WAN, 9, 6), 80)).toMatchObject({ as: 'fd55::6' });
      expect(await client.knock('tcp', '203.0.113.3', 80)).toMatchObject({ by: 'server' });
      expect(await alice.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ as: '203.0.113.2' });
      expect(await alice.knock('tcp', at(WAN, 9, 6), 80)).toMatchObject({ as: '2001:db8:9::3' });
      for (const version of VERSIONS) {
        const self = at(OVERLAY_NET, 3, version);
        expect(await bob.knock('tcp', at(WAN, 9, version), 80)).toMatchObject({ as: self });
      }
    });

    test('goes without a trace', async () => {
      await rules.stop();
      expect(await ruleset(net.node)).toBe(before);
      expect(await net.node.exec('cat', ['/proc/sys/net/ipv4/conf/lan/route_localnet'])).toBe('0');
    });
  });
}
