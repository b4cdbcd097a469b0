// The rules beside others: who may send from this host, what happens when somebody takes the rules away, and that what others
// made stays as it was, byte for byte.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { RINGFENCE } from '../support/node-process.ts';
import {
  at,
  HostRules,
  OVERLAY_NET,
  type OverlayHost,
  overlayHost,
  ruleset,
  WAN,
} from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

const REFUSED = { error: 'ECONNREFUSED' };
const NOBODY = 65_534;

/** What other programs have in their tables, in their shapes. */
const FOREIGN = `
table inet admin {
  chain input { type filter hook input priority filter; policy drop; iifname "lo" accept; ct state established,related accept; meta l4proto ipv6-icmp accept; }
}
table inet firewalld {
  chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ct state established,related accept; ct status dnat accept; reject with icmpx admin-prohibited; }
}
table ip k8s { chain services { type nat hook prerouting priority dstnat; policy accept; ip daddr 10.96.0.1 tcp dport 443 dnat to 192.168.7.5:6443; }; }
`;
/** UFW's and Docker's, as iptables has them. */
const IPTABLES = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
:ufw-before-input - [0:0]
-A INPUT -j ufw-before-input
-A FORWARD -j DOCKER-USER
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
COMMIT
`;

describe('a host with rules of others', () => {
  let net: OverlayHost;
  let rules: HostRules;
  let node: Prober;
  let nobody: Prober;
  let alice: Prober;

  beforeAll(async () => {
    net = await overlayHost();
    rules = await HostRules.create(net.node);
    node = Prober.start(net.node);
    nobody = Prober.start(net.node, NOBODY);
    alice = Prober.start(net.alice);
    const outside = Prober.start(net.outside);
    await Promise.all([
      node.listen('tcp', '0.0.0.0', 53),
      outside.listen('tcp', '0.0.0.0', 4222),
      outside.listen('tcp', '::', 4222),
    ]);
  });

  afterAll(async () => {
    await rules[Symbol.asyncDispose]();
    await net[Symbol.asyncDispose]();
  });

  test('a name is followed to other addresses, at once', async () => {
    const name = 'nats.example.org';
    const row = { process: [{ only: { uid: [0] }, to_dns: `${name}:4222` }] };
    const [v4, v6] = [at(WAN, 9, 4), at(WAN, 9, 6)];
    await rules.update(row);
    expect((await rules.status()).notEnforced).toEqual([expect.stringContaining(name)]);
    expect(await nobody.knock('tcp', v4, 4222)).toMatchObject({ by: 'outside' });
    await rules.resolve({ [name]: [v4] });
    expect(await nobody.knock('tcp', v4, 4222)).toEqual(REFUSED);
    expect(await nobody.knock('tcp', v6, 4222)).toMatchObject({ by: 'outside' });
    expect(await node.knock('tcp', v4, 4222)).toMatchObject({ by: 'outside' });
    await rules.resolve({ [name]: [v6] });
    expect(await nobody.knock('tcp', v4, 4222)).toMatchObject({ by: 'outside' });
    expect(await nobody.knock('tcp', v6, 4222)).toEqual(REFUSED);
    await rules.stop();
    expect(await ruleset(net.node)).toBe('');
  });

  test('opens where others drop, each by its own program, and leaves them as they were', async () => {
    await net.node.exec('nft', ['-f', '-'], { input: FOREIGN });
    await net.node.exec('iptables-nft-restore', ['--noflush'], { input: IPTABLES });
    await net.node.exec('iptables-legacy-restore', ['--noflush'], { input: IPTABLES });
    const legacy = async () =>
      (await net.node.exec('iptables-legacy-save')).replaceAll(/^#.*$|\[\d+:\d+\]/gm, '');
    const [before, legacyBefore] = [await ruleset(net.node), await legacy()];
    expect(await alice.knockInVain('tcp', at(OVERLAY_NET, 1, 4), 53)).toEqual({ error: 'silence' });

    await rules.update({ host: { stance: 'respect' } });
    const { notEnforced } = await rules.status();
    expect(notEnforced.join('\n')).toMatch(
      /inet admin input .* nft insert rule inet admin input iifname "rf0" accept/,
    );
    expect(notEnforced.join('\n')).toMatch(/ip filter INPUT .* iptables -I INPUT 1 -i rf0 -j ACCEPT/);
    expect(notEnforced.join('\n')).toMatch(/iptables-legacy -I FORWARD 1 -i rf0 -j ACCEPT/);
    expect(await alice.knockInVain('tcp', at(OVERLAY_NET, 1, 4), 53)).toEqual({ error: 'silence' });

    const respected = await rules.file({ host: { stance: 'respect' } });
    const { code, stdout } = await net.node.try(RINGFENCE, ['doctor', respected]);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /problem: inet admin input .*\n {2}do: nft insert rule inet admin input iifname "rf0" accept/,
    );
    expect(stdout).toMatch(/problem: ip filter INPUT .*ufw.*\n {2}do: ufw allow in on rf0/);
    expect(stdout).toMatch(
      /problem: inet firewalld .*\n {2}do: firewall-cmd --zone=trusted --add-interface=rf0/,
    );

    await rules.update({ host: { stance: 'open' } });
    expect(await alice.knock('tcp', at(OVERLAY_NET, 1, 4), 53)).toMatchObject({ by: 'node' });
    expect((await rules.status()).notEnforced).toEqual([
      expect.stringMatching(/firewalld.*--zone=trusted --add-interface=rf0/),
    ]);
    const open = await ruleset(net.node);
    expect(open).toContain('rf:test');
    await rules.update({ host: { stance: 'open' } });
    expect(await ruleset(net.node)).toBe(open);

    await rules.stop();
    expect(await ruleset(net.node)).toBe(before);
    expect(await legacy()).toBe(legacyBefore);
  });

  test('rules that somebody takes away are back at once, and said to be', async () => {
    await net.node.exec('nft', ['flush', 'ruleset']);
    const empty = '*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\nCOMMIT\n*nat\nCOMMIT\n';
    await net.node.exec('iptables-legacy-restore', [], { input: empty });
    await rules.start({ host: {} });
    const table = await ruleset(net.node);
    const attacks: readonly (readonly string[])[] = [
      ['flush', 'ruleset'],
      ['delete', 'table', 'inet', 'rf_test'],
      ['flush', 'chain', 'inet', 'rf_test', 'rf_leak_in'],
      ['insert', 'rule', 'inet', 'rf_test', 'rf_leak_in', 'accept'],
      ['add', 'element', 'inet', 'rf_test', 'rf_overlay4', '{ 203.0.113.0/24 }'],
    ];
    for (const [i, attack] of attacks.entries()) {
      await net.node.exec('nft', attack);
      await until(async () => (await ruleset(net.node)) === table, 5_000, `${attack.join(' ')} is mended`);
      await until(
        async () => (await rules.status()).restored === i + 1,
        5_000,
        `${attack.join(' ')} is counted`,
      );
    }
    await rules.process.line(/nft \(process \d+\) changed the table inet rf_test: it is put back/, 5_000);
    // The sixth in a minute is a fight, which is told and not fought.
    await net.node.exec('nft', ['flush', 'ruleset']);
    await rules.process.line(/keeps changing the table inet rf_test: it is put back again in 2 s/, 5_000);
    await until(async () => (await ruleset(net.node)) === table, 10_000, 'it is put back later');
  });

  test('after a crash, what a difference made of the table is known, and what somebody did to it', async () => {
    await rules.update({ host: {}, nat: { masquerade: [{ from: 'overlay', out: 'wan' }] } });
    const section = { host: {}, nat: { masquerade: [{ from: 'overlay', out: 'lan' }] } };
    await rules.update(section);
    const table = await ruleset(net.node);
    const again = async (): Promise<void> => {
      rules.process.signal('SIGKILL');
      await rules.process.exited;
      rules.restart(net.node);
    };
    await again();
    await rules.start(section);
    await rules.process.line(/table inet rf_test adopted/, 5_000);
    await again();
    await net.node.exec('nft', ['add', 'element', 'inet', 'rf_test', 'rf_overlay4', '{ 203.0.113.0/24 }']);
    await rules.start(section);
    await rules.process.line(/table inet rf_test replaced/, 5_000);
    expect(await ruleset(net.node)).toBe(table);
  });

  test('what nft refuses leaves the former rules, and the error says which line', async () => {
    const table = await ruleset(net.node);
    await expect(
      rules.update({ process: [{ only: { uid: ['no_such_user'] }, to: ['127.0.0.1:1'] }] }),
    ).rejects.toThrow(/`nft -f -` failed at `.*no_such_user.*/);
    expect(await ruleset(net.node)).toBe(table);
    await rules.stop();
  });

  test('the commands apply, compare, confirm and remove', async () => {
    const file = await rules.file({ host: {}, nat: { masquerade: [{ from: 'overlay', out: 'wan' }] } });
    const env = { RINGFENCE_RUN_DIR: rules.runDirectory };
    const run = async (...args: readonly string[]) =>
      await net.node.try(RINGFENCE, ['firewall', ...args], { env });
    expect((await run('apply', file)).stdout).toContain('table inet rf_test is in force');
    const there = await ruleset(net.node);
    expect((await run('diff', file)).stdout).toBe('no difference');
    const other = await rules.file({ host: {} });
    expect((await run('diff', other)).stdout).toContain(
      '- chain rf_nat_post: oifname "wan" ip saddr @rf_overlay4 masquerade',
    );
    // Nobody presses Enter.
    const refused = await run('apply', '--confirm-timeout', '1', other);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_FIREWALL_CONFIRM') });
    expect(await ruleset(net.node)).toBe(there);
    // A terminal that hangs up before the time is over, in the middle of a line.
    const args = ['firewall', 'apply', '--confirm-timeout', '600', other];
    await using hung = net.node.spawn(RINGFENCE, args, { env, isInteractive: true });
    await hung.line(/press Enter/, 20_000);
    await hung.write('a line of which');
    expect((await hung.stop('SIGHUP', 20_000)).code).toBe(1);
    expect(await ruleset(net.node)).toBe(there);
    for (let times = 0; times < 2; times++) expect((await run('remove', 'test')).code).toBe(0);
    expect(await ruleset(net.node)).toBe('');
    expect((await run('show', other)).stdout).toContain('table inet rf_test');
  });
});
