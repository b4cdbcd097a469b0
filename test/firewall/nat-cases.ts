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
import { Prober } from '../support/prober.ts';

const VERSIONS = [4, 6] as const;
const REFUSED = { error: 'ECONNREFUSED' };

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
      );
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
          outside.listen('tcp', address, 80, 8080),
        ]),
      );
      await rules.start(web());
    });

    afterAll(async () => {
      await rules[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
    });

    function web(): Readonly<Record<string, unknown>> {
      const common = { hairpin: true };
      return {
        nat: {
          publish: [
            {
              ...common,
              owner: 'svc/web',
              listen: '203.0.113.1',
              proto: 'tcp',
              ports: { '80': 8080, '8000-8001': 'same', '9000-9001': 7000 },
              to: '192.168.7.5',
              localhost: true,
            },
            {
              ...common,
              owner: 'svc/web6',
              listen: '2001:db8:9::1',
              proto: 'tcp',
              ports: { '80': 8080 },
              to: 'fd07::5',
            },
            {
              ...common,
              owner: 'svc/other',
              listen: '203.0.113.2',
              proto: 'tcp',
              ports: { '80': 8080 },
              to: '192.168.7.6',
            },
            {
              ...common,
              owner: 'svc/peer',
              proto: 'tcp',
              ports: { '8088': 8080 },
              to: 'bob',
              source: 'masquerade',
            },
            {
              owner: 'svc/api',
              listen: 'overlay',
              proto: 'tcp',
              ports: { '3000': 8080 },
              to: '192.168.7.5',
              from: ['10.9.0.2'],
            },
          ],
        },
      };
    }

    test('one port, a range, another range, two addresses and two backends', async () => {
      const [one, two] = [at(WAN, 1, 4), at(WAN, 2, 4)];
      const source = at(WAN, 9, 4);
      expect(await outside.knock('tcp', one, 80)).toEqual({ by: 'server', as: source, at: 8080 });
      expect(await outside.knock('tcp', one, 8001)).toEqual({ by: 'server', as: source, at: 8001 });
      expect(await outside.knock('tcp', one, 9001)).toEqual({ by: 'server', as: source, at: 7001 });
      expect(await outside.knock('tcp', two, 80)).toEqual({ by: 'client', as: source, at: 8080 });
      expect(await outside.knock('tcp', at(WAN, 1, 6), 80)).toEqual({
        by: 'server',
        as: at(WAN, 9, 6),
        at: 8080,
      });
      for (const version of VERSIONS) {
        expect(await outside.knock('tcp', at(WAN, 1, version), 8088)).toMatchObject({ by: 'bob' });
      }
      expect(await outside.knock('tcp', two, 8000)).toEqual(REFUSED);
      expect(await outside.knock('tcp', at(WAN, 3, 4), 80)).toEqual(REFUSED);
    });

    test('what only passes through to the same port stays what it is', async () => {
      // bob's own port 80 at his own address; the LAN's way to the world.
      expect(await alice.knock('tcp', at(OVERLAY_NET, 3, 4), 80)).toMatchObject({ by: 'bob', at: 80 });
      expect(await client.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ by: 'outside', at: 80 });
    });

    test('neighbours of the backend, itself and the host get there by the published address', async () => {
      const one = at(WAN, 1, 4);
      expect(await client.knock('tcp', one, 80)).toMatchObject({ by: 'server', as: at(LAN, 1, 4) });
      expect(await server.knock('tcp', one, 80)).toMatchObject({ by: 'server' });
      expect(await node.knock('tcp', one, 80)).toMatchObject({ by: 'server' });
      expect(await node.knock('tcp', '127.0.0.1', 80)).toMatchObject({ by: 'server', at: 8080 });
      expect(await client.knock('tcp', at(WAN, 1, 6), 80)).toMatchObject({ by: 'server', as: at(LAN, 1, 6) });
      expect(await node.knock('tcp', at(WAN, 1, 6), 80)).toMatchObject({ by: 'server' });
      expect(Number((await rules.status()).counters['rf_publish_svc/web_tcp'])).toBeGreaterThan(0);
    });

    test('a port of the overlay is that of its sources only, and follows its target', async () => {
      const own = at(OVERLAY_NET, 1, 4);
      expect(await alice.knock('tcp', own, 3000)).toMatchObject({ by: 'server', as: at(OVERLAY_NET, 2, 4) });
      expect(await bob.knock('tcp', own, 3000)).toEqual(REFUSED);
      expect(await outside.knock('tcp', at(WAN, 1, 4), 3000)).toEqual(REFUSED);
      const { nat } = web() as { nat: { publish: { owner: string; to: string }[] } };
      const moved = nat.publish.map((row) => (row.owner === 'svc/api' ? { ...row, to: '192.168.7.6' } : row));
      await rules.update({ nat: { publish: moved } });
      expect(await alice.knock('tcp', own, 3000)).toMatchObject({ by: 'client' });
    });

    test('an open flow lives through a crash and a new start, and through a change of other rows', async () => {
      const flow = outside.hold(at(WAN, 1, 4), 80);
      expect(await flow.echo('before')).toBe('before');
      rules.process.signal('SIGKILL');
      await rules.process.exited;
      expect(await flow.echo('without')).toBe('without');
      await rules.restart(net.node);
      await rules.start(web());
      expect(await flow.echo('after')).toBe('after');
      await rules.update({
        nat: { ...(web() as { nat: object }).nat, masquerade: [{ from: 'overlay', out: 'wan' }] },
      });
      expect(await flow.echo('and changed')).toBe('and changed');
    });

    test('a UDP client that sends already is translated from the moment of the row, and not after it', async () => {
      const row = (to: string) => ({
        owner: 'svc/dns',
        listen: '203.0.113.1',
        proto: 'udp',
        ports: { '53': 'same' },
        to,
      });
      await rules.update({
        nat: { publish: [{ ...row('192.168.7.5'), owner: 'tcp/dns', proto: 'tcp', ports: { '53': 80 } }] },
      });
      const stream = outside.stream(at(WAN, 1, 4), 53);
      await until(() => stream.sent > 3, 5_000, 'datagrams before there is a row');
      await rules.update({
        nat: {
          publish: [
            row('192.168.7.5'),
            { ...row('192.168.7.5'), owner: 'tcp/dns', proto: 'tcp', ports: { '53': 80 } },
          ],
        },
      });
      await until(() => stream.answers.includes('server'), 5_000, 'an answer from the backend');
      // One protocol goes, the other stays.
      await rules.update({ nat: { publish: [row('192.168.7.5')] } });
      expect(await outside.knock('tcp', at(WAN, 1, 4), 53)).toEqual(REFUSED);
      const count = stream.answers.length;
      await until(() => stream.answers.length > count, 5_000, 'answers go on');
      await rules.update({ nat: { publish: [] } });
      await until(() => stream.refused > 2, 5_000, 'nobody serves it any more');
    });

    test('an address for another, both ways, and a network for another', async () => {
      await net.outside.ipBatch('route add 10.55.0.0/24 via 203.0.113.1');
      await rules.update({
        nat: {
          one_to_one: [
            { ext: '203.0.113.3', int: '192.168.7.5' },
            { ext: '2001:db8:9::2', int: 'fd07::5' },
            { ext: '10.55.0.0/24', int: '192.168.7.0/24' },
          ],
          snat: [{ from: '10.9.0.2', out: 'wan', to: '203.0.113.2' }],
        },
      });
      expect(await outside.knock('tcp', '203.0.113.3', 80)).toMatchObject({
        by: 'server',
        as: at(WAN, 9, 4),
      });
      expect(await outside.knock('tcp', '2001:db8:9::2', 80)).toMatchObject({ by: 'server' });
      expect(await outside.knock('tcp', '10.55.0.6', 80)).toMatchObject({ by: 'client' });
      expect(await server.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ as: '203.0.113.3' });
      expect(await server.knock('tcp', at(WAN, 9, 6), 80)).toMatchObject({ as: '2001:db8:9::2' });
      expect(await client.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ as: '10.55.0.6' });
      expect(await client.knock('tcp', '203.0.113.3', 80)).toMatchObject({ by: 'server' });
      expect(await alice.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ as: '203.0.113.2' });
      expect(await bob.knock('tcp', at(WAN, 9, 4), 80)).toMatchObject({ as: at(OVERLAY_NET, 3, 4) });
    });

    test('goes without a trace', async () => {
      await rules.stop();
      expect(await ruleset(net.node)).toBe(before);
      expect(await net.node.exec('cat', ['/proc/sys/net/ipv4/conf/lan/route_localnet'])).toBe('0');
    });
  });
}
