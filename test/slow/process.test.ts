// Who may send from this host, over what takes long: starts and changes under a flood, and names whose servers fail and come back.

import { expect, test } from 'vitest';
import { build } from '../../src/bench/topology.ts';
import type { HostBackend } from '../../src/policy/host.ts';
import { cgroupObstacle, TestCgroup } from '../support/cgroups.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { NameServer } from '../support/names.ts';
import { type NodeFile, NodeProcess, RINGFENCE, Scratch, writeNode } from '../support/node-process.ts';
import { HostRules } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

const NOBODY = 65_534;
const PORT = 4222;
const NAME = 'nats.example.org';

test.each<HostBackend>(['nft', 'iptables-nft', 'iptables-legacy'])(
  '%s: nobody gets through while the rules come back after crashes, and while they, names and cgroups change',
  async (backend) => {
    await using net = await build(async (topology) => ({ node: await topology.host('node') }));
    await using rules = await HostRules.create(net.node, backend);
    const [root, nobody] = [Prober.start(net.node), Prober.start(net.node, NOBODY)];
    await using cgroup = new TestCgroup();
    const hasCgroups = cgroupObstacle === false;
    // 127.0.0.2 is there by its name alone, 127.0.0.3 for a cgroup that comes and goes.
    const addresses = ['127.0.0.1', '127.0.0.2', ...(hasCgroups ? ['127.0.0.3'] : [])];
    await root.listen('tcp', '127.0.0.2', PORT);
    const received = addresses.map((address) => root.count(address, PORT));
    const sent = addresses.map((address) => nobody.flood(address, PORT));
    const hammered = nobody.hammer('127.0.0.2', PORT);
    const section = (times: number) => ({
      process: [
        { only: { uid: [0] }, to: [`127.0.0.1:${PORT}`, `127.0.0.9:${1000 + times}`] },
        { only: { uid: [0] }, to_dns: `${NAME}:${PORT}` },
        ...(hasCgroups ? [{ only: { cgroup: [cgroup.path] }, to: [`127.0.0.3:${PORT}`] }] : []),
      ],
    });
    const resolve = async (times: number) =>
      await rules.resolve({ [NAME]: ['127.0.0.2', `127.0.1.${1 + (times % 200)}`] });
    const passed = () => [...received.map((one) => one.received), hammered.passed];
    await until(() => passed().every((count) => count > 100), 30_000, 'all of it gets through');
    await rules.start(section(0));
    await resolve(0);
    // What was on its way has come once five tellings say the same.
    let still = { passed: '', tellings: 0 };
    await until(
      () => {
        const [now, tellings] = [passed().join(), received[0]?.tellings ?? 0];
        if (now !== still.passed) still = { passed: now, tellings };
        return tellings - still.tellings >= 5;
      },
      30_000,
      'nothing gets through any more',
    );
    const before = passed();
    const triedBefore = [...sent.map((one) => one.sent), hammered.refused];
    for (let times = 1; times <= 3; times++) {
      rules.process.signal('SIGKILL');
      await rules.process.exited;
      rules.restart(net.node);
      await rules.start(section(times));
      for (let changes = 0; changes < 2; changes++) {
        if (hasCgroups) await cgroup.remove();
        await resolve(10 * times + changes);
        await rules.update(section(10 * times + changes));
        if (hasCgroups) cgroup.make();
      }
    }
    const tried = [...sent.map((one) => one.sent), hammered.refused].map((n, i) => n - (triedBefore[i] ?? 0));
    expect(Math.min(...tried)).toBeGreaterThan(1_000);
    expect(passed()).toEqual(before);
  },
  180_000,
);

const SHOWN: readonly HostBackend[] =
  cgroupObstacle === false ? ['nft', 'iptables-nft', 'iptables-legacy'] : [];
test.concurrent.each(SHOWN)(
  '%s: rules that are taken back are there without a cgroup that has gone, and nobody gets through',
  async (backend) => {
    await using net = await build(async (topology) => ({ node: await topology.host('node') }));
    await using rules = await HostRules.create(net.node, backend);
    await using cgroup = new TestCgroup();
    cgroup.make();
    const env = { RINGFENCE_RUN_DIR: rules.runDirectory };
    const root = Prober.start(net.node);
    await root.listen('tcp', '127.0.0.1', PORT);
    const row = (only: object) => ({ process: [{ only, to: [`127.0.0.1:${PORT}`] }] });
    const first = await rules.file(row({ cgroup: [cgroup.path] }));
    await net.node.exec(RINGFENCE, ['firewall', 'apply', first], { env });
    expect(await root.knock('tcp', '127.0.0.1', PORT)).toEqual({ error: 'ECONNREFUSED' });
    const second = await rules.file(row({ uid: [0] }));
    const apply = ['firewall', 'apply', '--confirm-timeout', '8', second];
    const applying = net.node.try(RINGFENCE, apply, { env });
    const passes = async () => 'by' in (await root.knock('tcp', '127.0.0.1', PORT));
    await until(passes, 30_000, 'the second rules are in force');
    await cgroup.remove();
    expect(await applying).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_FIREWALL_CONFIRM'),
    });
    expect(await root.knock('tcp', '127.0.0.1', PORT)).toEqual({ error: 'ECONNREFUSED' });
  },
  120_000,
);

test.concurrent('names are asked for again by their TTL, and what a resolver does not answer stays as it was', async () => {
  await using net = await build(async (topology) => ({ node: await topology.host('node') }));
  await using scratch = await Scratch.create();
  const host = net.node;
  const [fourth, fifth, sixth] = ['127.0.0.4', '127.0.0.5', '127.0.0.6'];
  const v6 = 'fd00::4';
  await host.ip('address', 'add', `${v6}/128`, 'dev', 'lo');
  const records = { A: [fourth], AAAA: [v6], ttl: 2 };
  await using names = await NameServer.start(host, '127.0.0.1', scratch.path, { [NAME]: records });
  const [root, nobody] = [Prober.start(host), Prober.start(host, NOBODY)];
  await root.listen('tcp', '0.0.0.0', PORT);
  await root.listen('tcp', '::', PORT);
  const passes = async (address: string) => 'by' in (await nobody.knock('tcp', address, PORT));
  const expectOnly = async (...refused: readonly string[]) => {
    const all = [fourth, fifth, sixth, v6];
    const passing = await Promise.all(all.map(async (address) => ((await passes(address)) ? address : null)));
    expect(passing).toEqual(all.map((address) => (refused.includes(address) ? null : address)));
  };
  const queries = () => names.process.output.split(`"query":"${NAME}"`).length;
  const askedAgain = async () => {
    const before = queries();
    await until(() => queries() >= before + 4, 60_000, 'the name is asked for again, twice');
  };
  const file: NodeFile = {
    interface: {
      name: 'rf-named',
      private_key_file: 'node.key',
      addresses: ['10.9.0.1/24'],
      listen_port: 51820,
    },
    peers: {},
    firewall: {
      version: 1,
      network: 'home0',
      process: [{ only: { uid: [0] }, to_dns: `${NAME}:${PORT}` }],
    },
  };
  const files = await writeNode(scratch.path, generateKeyPair(), file);
  const first = await NodeProcess.start(host, files, { inside: names.inside });
  await expectOnly(fourth, v6);
  expect(await root.knock('tcp', fourth, PORT)).toMatchObject({ by: 'node' });

  await names.change({ [NAME]: { A: [fifth], AAAA: 'SERVFAIL', ttl: 2 } });
  await until(async () => !(await passes(fifth)), 60_000, 'the name is followed');
  await expectOnly(fifth, v6);
  await names.change({ [NAME]: { A: 'SERVFAIL', AAAA: 'SERVFAIL', ttl: 2 } });
  await askedAgain();
  await names.change({});
  await askedAgain();
  await expectOnly(fifth, v6);

  // A start that learns nothing knows what was known.
  await first.process.stop('SIGKILL');
  await expectOnly(fifth, v6);
  await using second = await NodeProcess.start(host, files, { inside: names.inside });
  await expectOnly(fifth, v6);
  await names.change({ [NAME]: { A: [sixth], ttl: 2 } });
  await until(async () => !(await passes(sixth)), 60_000, 'the name is followed again');
  await expectOnly(sixth);
  await second.stop();
}, 180_000);

test.concurrent('a name that an endpoint has too: the rules know where it is before anything is sent there', async () => {
  await using net = await build(async (topology) => ({ node: await topology.host('node') }));
  await using scratch = await Scratch.create();
  const host = net.node;
  const ttl = 3_600;
  await using names = await NameServer.start(host, '127.0.0.1', scratch.path, {
    [NAME]: { A: ['127.0.0.4'], ttl },
  });
  const nobody = Prober.start(host, NOBODY);
  await Prober.start(host).listen('tcp', '0.0.0.0', PORT);
  const peer = { public_key: generateKeyPair().publicKey, addresses: ['10.9.0.2'], keepalive: 1 };
  const files = await writeNode(scratch.path, generateKeyPair(), {
    interface: { name: 'rf-named', private_key_file: 'node.key', addresses: ['10.9.0.1/24'] },
    peers: { right: { ...peer, endpoints: [`${NAME}:51820`] } },
    firewall: {
      version: 1,
      network: 'home0',
      process: [{ only: { uid: [0] }, to_dns: `${NAME}:${PORT}` }],
    },
  });
  await using node = await NodeProcess.start(host, files, { inside: names.inside });
  await names.change({ [NAME]: { A: ['127.0.0.5'], ttl } });
  // Nobody answers there, so the node asks again, long before the TTL ends.
  await node.process.line(/its endpoints are at 127\.0\.0\.5:51820/, 60_000);
  expect(await nobody.knock('tcp', '127.0.0.5', PORT)).toEqual({ error: 'ECONNREFUSED' });
  expect(await nobody.knock('tcp', '127.0.0.4', PORT)).toMatchObject({ by: 'node' });
  await node.stop();
}, 180_000);
