// What differs where iptables applies the rules: it commits table by table, tells nobody of changes, and its chains stand among
// those of others, where their place matters.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { RINGFENCE } from '../support/node-process.ts';
import { at, HostRules, type OverlayHost, overlayHost, ruleset, WAN } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

const NOBODY = 65_534;
const REFUSED = { error: 'ECONNREFUSED' };

/** Rules of others, in the shapes of Docker, UFW, firewalld and Kubernetes, and what iptables-nft has beside them. */
const FOREIGN_NFT = `
table inet firewalld {
  chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ct state established,related accept; }
}
table ip k8s { chain services { type nat hook prerouting priority dstnat; policy accept; ip daddr 10.96.0.1 tcp dport 443 dnat to 192.168.7.5:6443; }; }
`;
const FOREIGN = `*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
:ufw-before-output - [0:0]
-A FORWARD -j DOCKER-USER
-A OUTPUT -j ufw-before-output
-A DOCKER-USER -j RETURN
-A ufw-before-output -o lo -j ACCEPT
COMMIT
`;

/** A chain of iptables-nft that is made anew is listed elsewhere. */
function sorted(text: string): string[] {
  return text.split('\n').toSorted();
}

export function iptablesCases(backend: 'iptables-nft' | 'iptables-legacy'): void {
  describe(`among the rules of others, by ${backend}`, () => {
    let net: OverlayHost;
    let rules: HostRules;
    let node: Prober;
    let nobody: Prober;
    let before = '';

    const section = {
      host: { mirror: 'on' },
      process: [
        { only: { uid: [0, 1] }, to: ['127.0.0.1:2822', '[::1]:2822'] },
        { only: { uid: [0] }, to_dns: 'nats.example.org:4222' },
      ],
      nat: {
        publish: [{ owner: 'svc/web', proto: 'tcp', ports: { '80': 8080 }, to: '192.168.7.5' }],
        masquerade: [{ from: 'overlay', out: 'non-overlay' }],
      },
    };

    beforeAll(async () => {
      net = await overlayHost();
      rules = await HostRules.create(net.node, backend);
      node = Prober.start(net.node);
      nobody = Prober.start(net.node, NOBODY);
      await net.node.exec('nft', ['-f', '-'], { input: FOREIGN_NFT });
      await net.node.exec('iptables-nft-restore', [], { input: FOREIGN });
      await net.node.exec('iptables-legacy-restore', [], { input: FOREIGN });
      before = await ruleset(net.node);
      await Prober.start(net.outside).listen('tcp', '0.0.0.0', 4222);
    });

    afterAll(async () => {
      await rules[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
    });

    test('a name is followed to other addresses', async () => {
      const target = at(WAN, 9, 4);
      await rules.start(section);
      expect(await nobody.knock('tcp', target, 4222)).toMatchObject({ by: 'outside' });
      await rules.resolve({ 'nats.example.org': [target] });
      expect(await nobody.knock('tcp', target, 4222)).toEqual(REFUSED);
      expect(await node.knock('tcp', target, 4222)).toMatchObject({ by: 'outside' });
      await rules.resolve({ 'nats.example.org': [] });
      expect(await nobody.knock('tcp', target, 4222)).toMatchObject({ by: 'outside' });
    });

    test('what is taken away, moved or added is put back, counters go on', async () => {
      const there = await ruleset(net.node);
      const total = Number((await rules.status()).counters['rf_process']);
      const attacks: readonly (readonly string[])[] = [
        [backend, '-t', 'raw', '-F', 'RF-test-LEAK'],
        [backend, '-t', 'raw', '-I', 'RF-test-LEAK', '-j', 'RETURN'],
        [backend, '-t', 'raw', '-I', 'PREROUTING', '-j', 'ACCEPT'], // above ours
        [backend.replace('ip', 'ip6'), '-t', 'mangle', '-F', 'POSTROUTING'],
        [backend, '-t', 'mangle', '-F', 'RF-test-POLI'],
      ];
      for (const [i, [program = '', ...args]] of attacks.entries()) {
        await net.node.exec(program, args);
        await until(
          async () => (await rules.status()).restored === i + 1,
          5_000,
          `${args.join(' ')} is noticed`,
        );
        // The rule of somebody else's stays where it is; ours are above it again.
        if (args.includes('ACCEPT')) await net.node.exec(program, ['-t', 'raw', '-D', ...args.slice(3)]);
        await until(async () => (await ruleset(net.node)) === there, 5_000, `${args.join(' ')} is mended`);
      }
      expect(total).toBeGreaterThan(0);
      expect(Number((await rules.status()).counters['rf_process'])).toBeGreaterThanOrEqual(total);
      const who = backend === 'iptables-nft' ? 'ip6?tables-nft \\(process \\d+\\)' : 'somebody';
      await rules.process.line(new RegExp(`${who} changed the set of chains RF-test \\(iptables`), 5_000);
    });

    test('a change of some chains leaves others, and what was counted', async () => {
      const counted = async () => Number((await rules.status()).counters['rf_process']);
      const rows = (...to: readonly string[]) => ({ ...section, process: [{ only: { uid: [0, 1] }, to }] });
      // Ports that no connection of before still tries.
      const server = Prober.start(net.node);
      for (const address of ['127.0.0.1', '::1']) await server.listen('tcp', address, 2824);
      await rules.update(rows('127.0.0.1:2824', '[::1]:2824'));
      for (const address of ['127.0.0.1', '::1']) {
        expect(await nobody.knock('tcp', address, 2824)).toEqual(REFUSED);
      }
      const before = await counted();
      // The chain of IPv4 stays, that of IPv6 is another; then there is none of IPv6; then it is back.
      await rules.update(rows('127.0.0.1:2824', '[::1]:2825'));
      expect(await counted()).toBe(before);
      expect(await nobody.knock('tcp', '127.0.0.1', 2824)).toEqual(REFUSED);
      expect(await nobody.knock('tcp', '::1', 2824)).toMatchObject({ by: 'node' });
      const refused = await counted();
      expect(refused).toBeGreaterThan(before);
      await rules.update(rows('127.0.0.1:2824'));
      expect(await counted()).toBe(refused);
      await rules.update(rows('127.0.0.1:2824', '[::1]:2824'));
      expect(await nobody.knock('tcp', '::1', 2824)).toEqual(REFUSED);
      expect(await counted()).toBeGreaterThan(refused);
      await rules.update(section);
    });

    // The other kind has no lock.
    if (backend === 'iptables-legacy') {
      test('who has the lock of iptables is told while it is waited for', async () => {
        const lock = 'echo locked; exec sleep 30 > /dev/null 2>&1';
        const holder = net.node.spawn('flock', ['-o', '/run/xtables.lock', 'sh', '-c', lock]);
        await holder.line(/locked/, 5_000);
        const changed = rules.update({ ...section, process: [] });
        await rules.process.line(/waits for flock \(process \d+\), which has the lock of iptables/, 5_000);
        await holder.stop('SIGKILL');
        await changed;
        expect(await ruleset(net.node)).not.toContain('RF-test-USER');
        await rules.update(section);
      });
    }

    test('what IPv6 refuses takes IPv4 back, too', async () => {
      const there = await ruleset(net.node);
      const folder = join(rules.runDirectory, 'half');
      await mkdir(folder);
      const script = '#!/bin/sh\ncat > /dev/null\necho line 3 failed >&2\nexit 1\n';
      await writeFile(join(folder, `ip6tables-${backend.slice(9)}-restore`), script, { mode: 0o755 });
      const file = await rules.file({ process: [{ only: { uid: [0] }, to: ['127.0.0.1:2822'] }] });
      const env = { RINGFENCE_RUN_DIR: rules.runDirectory, PATH: `${folder}:${process.env['PATH']}` };
      rules.process.signal('SIGKILL'); // it would put them back
      await rules.process.exited;
      const refused = await net.node.try(RINGFENCE, ['firewall', 'apply', file], { env });
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_FIREWALL_COMMAND') });
      expect(sorted(await ruleset(net.node))).toEqual(sorted(there));
      rules.restart(net.node);
      await rules.start({ ...section, process: [] });
      expect(await ruleset(net.node)).not.toContain('RF-test-USER');
    });

    test('nothing of others has changed, and nothing is left', async () => {
      await rules.stop();
      expect(await ruleset(net.node)).toBe(before);
    });
  });
}
