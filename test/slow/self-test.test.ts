// What takes longer to show of the self-test: that it follows changes by itself, that the commands tell it, and a kill in its middle.

import { expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { API, byPath, FIREWALL, foreign, WEB } from '../support/droppers.ts';
import { RINGFENCE } from '../support/node-process.ts';
import { HostRules, overlayHost } from '../support/overlay-host.ts';

test('tells what respect leaves closed, by itself what opening has opened, and so do the commands', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const deny =
    '*filter\n:INPUT DROP [0:0]\n:ufw-before-input - [0:0]\n-A INPUT -j ufw-before-input\nCOMMIT\n';
  for (const program of ['iptables', 'ip6tables']) {
    await net.node.exec(`${program}-nft-restore`, ['--noflush'], { input: deny });
  }
  const respected = { ...FIREWALL, host: { ...FIREWALL.host, stance: 'respect' } };
  await rules.start(respected);
  await rules.test();
  const found = async (): Promise<string | undefined> => byPath((await rules.status()).paths ?? [])[API];
  expect(await found()).toBe('no: ip filter INPUT');
  const { code, stdout } = await net.node.try(RINGFENCE, ['doctor', await rules.file(respected)]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/problem: not effective: inbound web .* is dropped by ip filter INPUT: policy drop/);
  expect(stdout).toContain('do: iptables -t filter -I INPUT 1 -i rf0 -p tcp --dport 13670 -j ACCEPT');

  await rules.update(FIREWALL);
  await until(async () => (await found()) === 'yes', 10_000, 'it is open');
  // Somebody closes it again, above ours, and has second thoughts.
  await net.node.exec('nft', ['-f', '-'], {
    input: 'table inet late { chain input { type filter hook input priority 40; tcp dport 13669 drop; }; }\n',
  });
  await until(async () => (await found()) === 'no: inet late input', 40_000, 'it is closed again');
  await net.node.exec('nft', ['delete', 'table', 'inet', 'late']);
  await until(async () => (await found()) === 'yes', 40_000, 'it is open again');
  await rules.process.line(new RegExp(`effective on the host again: ${API}`), 5_000);

  const env = { RINGFENCE_RUN_DIR: rules.runDirectory };
  const file = await rules.file(respected);
  await rules.stop();
  const applied = await net.node.try(RINGFENCE, ['firewall', 'apply', file], { env });
  expect(applied.stdout).toMatch(
    /^not effective: inbound api .* is dropped by ip filter INPUT: policy drop/m,
  );
  expect((await net.node.try(RINGFENCE, ['firewall', 'remove', 'test'], { env })).code).toBe(0);
}, 120_000);

test('what is killed in the middle leaves no interface, and its table goes with the next test or with the rules', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  await rules.start(FIREWALL);
  await net.node.exec('nft', ['-f', '-'], { input: foreign(4) }); // who traces takes longer
  const tables = async (): Promise<string> => await net.node.exec('nft', ['list', 'tables']);
  const killInTheMiddle = async (): Promise<void> => {
    const running = rules.test().catch(() => null);
    await until(async () => (await tables()).includes('rf_test.probe.'), 10_000, 'a test runs');
    rules.process.signal('SIGKILL');
    await rules.process.exited;
    void running; // nobody answers it any more
    expect(await tables()).toContain('rf_test.probe.');
    expect(await net.node.exec('ip', ['-brief', 'link'])).not.toContain('rfprobe');
  };
  await killInTheMiddle();
  rules.restart(net.node);
  await rules.start(FIREWALL);
  expect(byPath(await rules.test())[WEB]).toBe('no: inet admin input');
  expect(await tables()).not.toContain('probe');

  await killInTheMiddle();
  const env = { RINGFENCE_RUN_DIR: rules.runDirectory };
  expect((await net.node.try(RINGFENCE, ['firewall', 'remove', 'test'], { env })).code).toBe(0);
  expect(await tables()).toBe('table inet admin\ntable inet firewalld');
}, 120_000);
