// The self-test of the host's rules: packets that really travel say what passes, and who drops what does not, whatever reading the
// rules of others would say. Nobody hears of them, and nothing of them stays.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import {
  API,
  byPath,
  DNS,
  FIREWALL,
  foreign,
  iptables,
  LATE,
  LEGACY,
  NOBODY,
  OLD,
  SITE,
  USERS,
  WEB,
} from '../support/droppers.ts';
import { at, HostRules, LAN, type OverlayHost, overlayHost, WAN } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

describe('the self-test of a host', () => {
  let net: OverlayHost;
  let rules: HostRules;

  beforeAll(async () => {
    net = await overlayHost();
    rules = await HostRules.create(net.node);
    // All that reaches a listener, or leaves for others.
    const seen = ['meta l4proto { tcp, udp }', 'icmp type 3', 'icmpv6 type 1']
      .map((match) => `${match} counter name seen\n`)
      .join('');
    const table = `table inet seen { counter seen { }; chain in { type filter hook prerouting priority -400; ${seen} }; }`;
    for (const host of [net.server, net.client, net.alice, net.bob]) {
      await host.exec('nft', ['-f', '-'], { input: table });
    }
    // Packets with a wrong checksum, or that begin no flow, are nobody's.
    await net.node.exec('nft', ['-f', '-'], {
      input:
        'table inet strict { chain strict { type filter hook prerouting priority mangle; ct state invalid drop; }; }\n',
    });
    await rules.start(FIREWALL);
  });

  afterAll(async () => {
    await rules.stop();
    await rules[Symbol.asyncDispose]();
    await net[Symbol.asyncDispose]();
  });

  const node = async (...command: readonly [string, ...string[]]): Promise<string> =>
    await net.node.exec(command[0], command.slice(1));
  const load = async (program: string, input: string): Promise<void> => {
    const args = program === 'nft' ? ['-f', '-'] : ['--noflush'];
    await net.node.exec(program, args, { input });
  };
  const flows = async (): Promise<number> =>
    Number(await node('cat', '/proc/sys/net/netfilter/nf_conntrack_count'));
  /** What a probe could leave behind, beside flows: those of others end meanwhile. */
  const traces = async (): Promise<string[]> => [
    await node('nft', 'list', 'tables'),
    await node('ip', '-brief', 'link'),
    await node('tc', 'qdisc'),
  ];

  test('all passes where nobody drops, nobody hears of it, and nothing is left', async () => {
    const listener = Prober.start(net.node);
    const heard = listener.count('0.0.0.0', 5353);
    await until(async () => (await node('ss', '-Hlun')).includes(':5353'), 10_000, 'somebody listens');
    const [before, flowsBefore] = [await traces(), await flows()];
    const paths = await rules.test();
    expect(paths.map(({ name, effective }) => `${effective} ${name}`)).toEqual([
      'yes overlay to this host',
      'yes overlay to overlay',
      'yes overlay out by wan',
      'yes overlay out by lan',
      ...[API, WEB, DNS, LATE, OLD, SITE].map((name) => `yes ${name}`),
      'yes published svc/web4 tcp/80 IPv4',
      'yes published svc/web6 tcp/80 IPv6',
      ...['203.0.113.9:4222', '[2001:db8:9::9]:4222'].flatMap((to) =>
        USERS.map((user) => `yes process of user ${user} to ${to}`),
      ),
    ]);
    expect([await traces(), await flows()]).toEqual([before, flowsBefore]);
    expect((await rules.status()).paths).toEqual(paths);
    // A datagram of somebody else comes after any of ours.
    await Prober.start(net.outside).knockInVain('udp', at(WAN, 1, 4), 5353);
    await until(() => heard.received > 0, 10_000, 'the listener hears what is meant for it');
    expect(heard.received).toBe(1);
  });

  test.each([4, 6] as const)(
    'names each who drops, by IPv%i, and knows when that has gone',
    async (version) => {
      // A container is known by having been spoken to.
      await node(
        'ip',
        'neighbour',
        'replace',
        at(LAN, 5, version),
        'dev',
        'lan',
        'lladdr',
        '02:00:00:00:00:05',
      );
      const [before, flowsBefore] = [await traces(), await flows()];
      const [family, program] =
        version === 4 ? (['ip', 'iptables'] as const) : (['ip6', 'ip6tables'] as const);
      await load('nft', foreign(version));
      await load(`${program}-nft-restore`, iptables(version));
      await load(`${program}-legacy-restore`, LEGACY);
      const paths = await rules.test();
      const ends = version === 4 ? '203.0.113.9:4222' : '[2001:db8:9::9]:4222';
      expect(Object.entries(byPath(paths)).filter(([, found]) => found !== 'yes')).toEqual([
        ['overlay out by lan', `no: ${family} raw PREROUTING`],
        [WEB, 'no: inet admin input'],
        [DNS, 'no: inet admin sets'],
        [LATE, 'no: inet firewalld services'],
        [OLD, `no: ${family} filter INPUT (iptables-legacy)`],
        [SITE, `no: ${family} filter ufw-before-input`],
        [`published svc/web${version} tcp/80 IPv${version}`, 'no: inet admin through'],
        ...(USERS.includes(NOBODY) ? [[`process of user ${NOBODY} to ${ends}`, 'no: inet admin out']] : []),
      ]);
      expect(paths.find(({ name }) => name === WEB)).toMatchObject({
        why: expect.stringMatching(
          /^TCP from \S+ by wan to \S+ port 13670 is dropped by inet admin input: .*dport 13670/,
        ),
        remedy: 'nft insert rule inet admin input iifname "wan" tcp dport 13670 accept',
      });
      await rules.process.line(
        new RegExp(`not effective on the host: ${WEB}: TCP from \\S*${version === 4 ? '203' : '2001'}`),
        5_000,
      );
      await node('nft', 'delete', 'table', 'inet', 'admin');
      await node('nft', 'delete', 'table', 'inet', 'firewalld');
      for (const table of ['filter', 'raw']) await node('nft', 'delete', 'table', family, table);
      await node(`${program}-legacy`, '-F');
      const again = byPath(await rules.test());
      expect(Object.values(again).filter((found) => found !== 'yes')).toEqual([]);
      await node('ip', 'neighbour', 'del', at(LAN, 5, version), 'dev', 'lan');
      expect(await traces()).toEqual(before);
      expect(await flows()).toBeLessThanOrEqual(flowsBefore);
    },
  );

  test('nothing of it has come to anybody', async () => {
    for (const host of [net.server, net.client, net.alice, net.bob]) {
      expect(await host.exec('nft', ['list', 'counter', 'inet', 'seen', 'seen'])).toContain('packets 0 ');
    }
  });
});
