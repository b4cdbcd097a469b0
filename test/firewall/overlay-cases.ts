// A default-deny host with an overlay: what its own firewall drops is opened, by interface, and closed again; addresses of the
// overlay neither leave nor enter in the clear.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HostBackend } from '../../src/policy/host.ts';
import { Capture, captureObstacle } from '../support/capture.ts';
import { until } from '../support/deadline.ts';
import {
  at,
  DENY_ALL,
  HostRules,
  OVERLAY_NET,
  type OverlayHost,
  overlayHost,
  ruleset,
  WAN,
} from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

const VERSIONS = [4, 6] as const;

export function overlayCases(backend: HostBackend): void {
  describe(`a host that denies by default, by ${backend}`, () => {
    let net: OverlayHost;
    let rules: HostRules;
    let node: Prober;
    let alice: Prober;
    let bob: Prober;
    let outside: Prober;
    let before = '';

    beforeAll(async () => {
      net = await overlayHost();
      rules = await HostRules.create(net.node, backend);
      [node, alice, bob, outside] = [net.node, net.alice, net.bob, net.outside].map((host) =>
        Prober.start(host),
      ) as [Prober, Prober, Prober, Prober];
      await net.node.exec('nft', ['-f', '-'], { input: DENY_ALL });
      before = await ruleset(net.node);
      await Promise.all([
        node.listen('udp', '0.0.0.0', 53),
        node.listen('udp', '::', 53),
        node.listen('tcp', '0.0.0.0', 13669, 13670),
        node.listen('tcp', '::', 13669, 13670),
        bob.listen('tcp', '0.0.0.0', 80),
        bob.listen('tcp', '::', 80),
        outside.listen('tcp', '0.0.0.0', 80),
        outside.listen('tcp', '::', 80),
      ]);
    });

    afterAll(async () => {
      await rules[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
    });

    test('opens for the overlay and for the rows, and closes again', async () => {
      const overlayDns = (version: 4 | 6) => at(OVERLAY_NET, 1, version);
      for (const version of VERSIONS) {
        expect(await alice.knockInVain('udp', overlayDns(version), 53)).toEqual({ error: 'silence' });
        expect(await alice.knockInVain('tcp', at(OVERLAY_NET, 3, version), 80)).toHaveProperty('error');
      }
      await rules.start({
        host: {
          inbound: [
            { name: 'api', proto: 'tcp', port: 13669, from: ['overlay'] },
            { name: 'web', proto: 'tcp', port: 13670, from: ['any'] },
          ],
        },
        nat: { masquerade: [{ from: 'overlay', out: 'non-overlay' }] },
      });
      for (const version of VERSIONS) {
        const self = at(OVERLAY_NET, 2, version);
        expect(await alice.knock('udp', overlayDns(version), 53)).toMatchObject({ by: 'node', as: self });
        expect(await alice.knock('tcp', at(OVERLAY_NET, 3, version), 80)).toMatchObject({
          by: 'bob',
          as: self,
        });
        expect(await alice.knock('tcp', overlayDns(version), 13669)).toMatchObject({ by: 'node' });
        expect(await outside.knock('tcp', at(WAN, 1, version), 13670)).toMatchObject({ by: 'node' });
        expect(await outside.knockInVain('tcp', at(WAN, 1, version), 13669)).toEqual({ error: 'silence' });
        // Egress is seen as the host's, what stays in the overlay as the peer's.
        expect(await alice.knock('tcp', at(WAN, 9, version), 80)).toMatchObject({ as: at(WAN, 1, version) });
      }
      expect((await rules.status()).notEnforced).toEqual([]);
    });

    test('a port that is opened twice closes with its last owner', async () => {
      const row = (owner: string) => ({ name: 'api', proto: 'tcp', port: 13670, from: ['any'], owner });
      const knock = () => outside.knockInVain('tcp', at(WAN, 1, 4), 13670);
      await rules.update({ host: { inbound: [row('svc/a'), row('svc/b')] } });
      expect(await outside.knock('tcp', at(WAN, 1, 4), 13670)).toMatchObject({ by: 'node' });
      await rules.update({ host: { inbound: [row('svc/b')] } });
      expect(await outside.knock('tcp', at(WAN, 1, 4), 13670)).toMatchObject({ by: 'node' });
      await rules.update({ host: { inbound: [{ ...row('svc/b'), port: 13669 }] } });
      expect(await knock()).toEqual({ error: 'silence' });
      expect(await outside.knock('tcp', at(WAN, 1, 4), 13669)).toMatchObject({ by: 'node' });
    });

    test.skipIf(captureObstacle)(
      'TCP through the tunnel agrees on segments that fit, both ways',
      async () => {
        await net.node.ipBatch('link set rf0 mtu 1420');
        const nat = { masquerade: [{ from: 'overlay', out: 'non-overlay' }] };
        for (const { mss, fits } of [
          { mss: 'auto', fits: true },
          { mss: 'off', fits: false },
        ]) {
          await rules.update({ host: {}, nat, mss });
          const filter = 'tcp port 80';
          await using asked = await Capture.start(net.outside, 'eth0', { filter });
          await using answered = await Capture.start(net.alice, 'eth0', { filter });
          for (const version of VERSIONS) {
            // What the tunnel takes, and what the wires at both ends do, without the headers of IP and TCP.
            const headers = version === 4 ? 40 : 60;
            const agreed = (fits ? 1420 : 1500) - headers;
            expect(await alice.knock('tcp', at(WAN, 9, version), 80)).toMatchObject({ by: 'outside' });
            const ip = version === 4 ? 'IP' : 'IP6';
            await asked.packet(new RegExp(`${ip} .*Flags \\[S\\], .*mss ${agreed},`), 5_000);
            await answered.packet(new RegExp(`${ip} .*Flags \\[S\\.\\], .*mss ${agreed},`), 5_000);
          }
        }
        await net.node.ipBatch('link set rf0 mtu 1500');
      },
    );

    test('overlay addresses from elsewhere are dropped, also above an accept of all', async () => {
      await net.node.exec('nft', ['-f', '-'], {
        input: 'insert rule inet filter input accept\ninsert rule inet filter forward accept\n',
      });
      await rules.update({ host: {} });
      // The outside host takes an address of the overlay, and asks for our overlay address by the wire. It knows where we are:
      // what it would ask with the forged address is dropped as well.
      const { address } = (
        JSON.parse(await net.node.ip('-json', 'link', 'show', 'wan')) as [{ address: string }]
      )[0];
      await net.outside.ipBatch(
        `neighbour replace ${at(WAN, 1, 6)} lladdr ${address} dev eth0 nud permanent`,
        `address add ${at(OVERLAY_NET, 2, 4)}/32 dev eth0`,
        `address add ${at(OVERLAY_NET, 2, 6)}/128 dev eth0 nodad`,
        `route add ${at(OVERLAY_NET, 1, 4)} via ${at(WAN, 1, 4)}`,
        `route add ${at(OVERLAY_NET, 1, 6)} via ${at(WAN, 1, 6)}`,
      );
      const dropped = async () => Number((await rules.status()).counters['rf_leak_in']);
      for (const version of VERSIONS) {
        const [forged, own, overlay] = [
          at(OVERLAY_NET, 2, version),
          at(WAN, 1, version),
          at(OVERLAY_NET, 1, version),
        ];
        const first = await dropped();
        expect(await outside.knockInVain('udp', own, 53, forged)).toEqual({ error: 'silence' });
        await until(async () => (await dropped()) > first, 5_000, 'a forged source is dropped');
        const second = await dropped();
        expect(await outside.knockInVain('udp', overlay, 53)).toEqual({ error: 'silence' });
        await until(async () => (await dropped()) > second, 5_000, 'our overlay address is silent');
      }
    });

    test('the guard stays after a crash', async () => {
      const dropped = async () => Number((await rules.status()).counters['rf_leak_in']);
      const first = await dropped();
      rules.process.signal('SIGKILL');
      await rules.process.exited;
      const knocks = VERSIONS.map((version) =>
        outside.knockInVain('udp', at(WAN, 1, version), 53, at(OVERLAY_NET, 2, version)),
      );
      expect(await Promise.all(knocks)).toEqual(knocks.map(() => ({ error: 'silence' })));
      rules.restart(net.node);
      await rules.start({ host: {} }); // it finds them, and what they have counted
      expect(await dropped()).toBeGreaterThanOrEqual(first + VERSIONS.length);
    });

    test.skipIf(captureObstacle)(
      'while its interface is down, gone or not yet there nothing for the overlay leaves by another',
      async () => {
        await using wire = await Capture.start(net.outside, 'eth0', { filter: 'ip proto 1 or ip6 proto 58' });
        const peers = VERSIONS.map((version) => at(OVERLAY_NET, 3, version));
        const ping = async (address: string) => await net.node.try('ping', ['-c', '1', '-W', '1', address]);
        const expectNothing = async (when: string) => {
          // By a route that is better than the guard's: the rules drop what follows it.
          const routes = peers.map((peer, i) => `${peer} via ${at(WAN, 9, VERSIONS[i] ?? 4)}`);
          await net.node.ipBatch(...routes.map((route) => `route replace ${route}`));
          const count = async () => Number((await rules.status()).counters['rf_leak_out']);
          const first = await count();
          await Promise.all(peers.map(ping));
          await until(async () => (await count()) >= first + peers.length, 5_000, `${when}: dropped`);
          await net.node.ipBatch(...routes.map((route) => `route del ${route}`));
          for (const { stdout, stderr } of await Promise.all(peers.map(ping))) {
            expect(stdout + stderr, when).toMatch(/No route to host|unreachable/i);
          }
        };
        await rules.update({ host: {} });
        await net.node.ipBatch('link set rf0 down');
        await expectNothing('down');
        await net.node.ipBatch(`link set rf0 netns ${net.alice.namespace}`);
        await expectNothing('gone');
        await rules.stop();
        await rules.start({ host: {} });
        await expectNothing('not yet there');
        await net.alice.ipBatch(`link set rf0 netns ${net.node.namespace}`);
        await net.node.ipBatch(
          `address add ${at(OVERLAY_NET, 1, 4)}/24 dev rf0`,
          `address add ${at(OVERLAY_NET, 1, 6)}/64 dev rf0 nodad`,
          'link set rf0 up',
        );
        // What was sent to the world after all of it has come, and nothing for the overlay before it.
        await ping(at(WAN, 9, 4));
        await wire.packet(new RegExp(`> ${at(WAN, 9, 4)}: ICMP echo request`), 5_000);
        expect(wire.packets.filter((line) => peers.some((peer) => line.includes(`> ${peer}`)))).toEqual([]);
      },
    );

    test('stops without a trace', async () => {
      await net.node.exec('nft', ['-f', '-'], { input: `delete table inet filter\n${DENY_ALL}` });
      await rules.stop();
      expect(await ruleset(net.node)).toBe(before);
      expect(await net.node.exec('ip', ['route', 'show', 'type', 'unreachable'])).toBe('');
      expect(await net.node.exec('cat', ['/proc/sys/net/ipv4/ip_forward'])).toBe('0');
      expect(await alice.knockInVain('udp', at(OVERLAY_NET, 1, 4), 53)).toEqual({ error: 'silence' });
    });
  });
}
