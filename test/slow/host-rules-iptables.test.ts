// What takes long to prove of the host's rules by iptables, and the packet cases by the kind that npm test leaves out.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { containerCases } from '../firewall/container-cases.ts';
import { iptablesCases } from '../firewall/iptables-cases.ts';
import { isolationCases } from '../firewall/isolation-cases.ts';
import { natCases } from '../firewall/nat-cases.ts';
import { overlayCases } from '../firewall/overlay-cases.ts';
import { processCases } from '../firewall/process-cases.ts';
import { leaked } from '../support/flooded.ts';
import { RINGFENCE } from '../support/node-process.ts';
import { at, HostRules, overlayHost, ruleset, WAN } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

natCases('iptables-legacy');
overlayCases('iptables-nft');
overlayCases('iptables-legacy');
iptablesCases('iptables-nft');
isolationCases('iptables-nft');
isolationCases('iptables-legacy');
containerCases('iptables-nft', 'nft');
containerCases('iptables-legacy', 'legacy');
processCases('iptables-nft');

const BACKENDS = ['iptables-nft', 'iptables-legacy'] as const;

test.each(BACKENDS)(
  '%s: a million datagrams at a closed port, a hundred replaces: none gets through',
  async (backend) => {
    expect(await leaked(() => backend)).toBe(0);
  },
  180_000,
);

test('200,000 datagrams while nft, iptables-nft and iptables-legacy take turns: none gets through', async () => {
  const turns = ['nft', 'iptables-nft', 'iptables-legacy'];
  expect(await leaked((times) => turns[times % 3] ?? '', { changes: 30, datagrams: 200_000 })).toBe(0);
}, 180_000);

test.each(BACKENDS)(
  '%s: twenty starts after twenty crashes find the same rules, and an open flow lives on',
  async (backend) => {
    await using net = await overlayHost();
    await using rules = await HostRules.create(net.node, backend);
    const section = {
      nat: {
        publish: [{ owner: 'svc/web', proto: 'tcp', ports: { '80': 8080 }, to: '192.168.7.5' }],
        masquerade: [{ from: 'overlay', out: 'non-overlay' }],
      },
    };
    await Prober.start(net.server).listen('tcp', '0.0.0.0', 8080);
    await rules.start(section);
    const flow = Prober.start(net.outside).hold(at(WAN, 1, 4), 80);
    const first = await ruleset(net.node);
    for (let starts = 0; starts < 20; starts++) {
      rules.process.signal('SIGKILL');
      await rules.process.exited;
      rules.restart(net.node);
      await rules.start(section);
      await rules.process.line(/set of chains RF-test \(iptables-\w+\) adopted/, 5_000);
      expect(await ruleset(net.node)).toBe(first);
      expect(await flow.echo(`${starts}`)).toBe(`${starts}`);
    }
  },
  180_000,
);

const PROGRAMS = ['nft', 'iptables', 'ip6tables'].flatMap((name) =>
  name === 'nft'
    ? [name]
    : ['', '-nft', '-legacy'].flatMap((kind) =>
        ['', '-save', '-restore'].map((verb) => `${name}${kind}${verb}`),
      ),
);

test('nothing is half up where nft and iptables fail, hang or print without end', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const folder = join(rules.runDirectory, 'bin');
  await net.node.exec('mkdir', ['-p', folder]);
  const programs = {
    failing: 'exit 1',
    hanging: 'exec sleep 60',
    chatty: 'yes | head -c 2000000; yes | head -c 2000000 >&2; exit 1',
  };
  const env = { RINGFENCE_RUN_DIR: rules.runDirectory, PATH: `${folder}:${process.env['PATH']}` };
  for (const backend of ['auto', 'iptables-legacy']) {
    const file = await rules.file({ host: { backend } });
    for (const [name, script] of Object.entries(programs)) {
      for (const program of PROGRAMS) {
        await writeFile(join(folder, program), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      }
      const began = performance.now();
      const result = await net.node.try(RINGFENCE, ['firewall', 'apply', file], { env });
      expect(result, `${backend}, ${name}`).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/ERR_FIREWALL_(COMMAND|BACKEND)/),
      });
      expect(performance.now() - began, `${backend}, ${name}`).toBeLessThan(25_000);
      expect(await ruleset(net.node)).toBe('');
      expect(await net.node.exec('ip', ['route', 'show', 'type', 'unreachable'])).toBe('');
    }
  }
}, 180_000);

test('without nft iptables does it, of the kind that has rules', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const folder = join(rules.runDirectory, 'bin');
  await net.node.exec('mkdir', ['-p', folder]);
  await writeFile(join(folder, 'nft'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const env = { RINGFENCE_RUN_DIR: rules.runDirectory, PATH: `${folder}:${process.env['PATH']}` };
  const run = async (...args: readonly string[]) => await net.node.try(RINGFENCE, args, { env });
  const file = await rules.file({ nat: { masquerade: [{ from: 'overlay', out: 'wan' }] } });
  expect((await run('firewall', 'apply', file)).stdout).toContain(
    'set of chains RF-test (iptables-nft) is in force',
  );
  expect((await run('firewall', 'diff', file)).stdout).toBe('no difference');
  expect((await run('firewall', 'diff', await rules.file({ host: {} }))).stdout).toMatch(
    /^- nat RF-test-SNAT1: -s 10\.9\.0\.0\/24 -j MASQUERADE|^- nat RF-test-SNAT: .*MASQUERADE/m,
  );
  expect((await run('doctor', file)).stdout).toContain('iptables-nft applies the rules of the host');
  expect((await run('firewall', 'remove', 'test')).code).toBe(0);
  expect(await ruleset(net.node)).not.toContain('RF-');
  // An administrator's firewall of the other kind: theirs is the one that is used, and opened.
  const closed = '*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n';
  await net.node.exec('iptables-legacy-restore', [], { input: closed });
  const before = await ruleset(net.node);
  const opened = await run('firewall', 'apply', await rules.file({ host: {} }));
  expect(opened.stdout).toContain('set of chains RF-test (iptables-legacy) is in force');
  expect(opened.stdout).not.toContain('not enforced');
  expect(await net.node.exec('iptables-legacy', ['-S', 'INPUT', '1'])).toContain('-j RF-test-IN');
  // Nobody presses Enter.
  const there = await ruleset(net.node);
  const refused = await run(
    'firewall',
    'apply',
    '--confirm-timeout',
    '1',
    await rules.file({ leak_guard: { out: 'off' } }),
  );
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_FIREWALL_CONFIRM') });
  expect(await ruleset(net.node)).toBe(there);
  expect((await run('firewall', 'remove', 'test')).code).toBe(0);
  expect(await ruleset(net.node)).toBe(before);
}, 120_000);
