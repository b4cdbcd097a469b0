// What takes long to prove of the host's rules: nothing gets through while they are replaced under a flood, a host looks the same
// after fifty starts, and nft that fails in any way leaves nothing half up.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { containerCases } from '../firewall/container-cases.ts';
import { isolationCases } from '../firewall/isolation-cases.ts';
import { leaked } from '../support/flooded.ts';
import { RINGFENCE } from '../support/node-process.ts';
import { at, HostRules, overlayHost, ruleset, WAN } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

isolationCases('nft');
containerCases('nft', 'nft');

test('a million datagrams at a closed port, a hundred replaces: none gets through', async () => {
  // What is counted between a look and a replace is lost.
  expect(await leaked(() => 'auto', undefined, 100_000)).toBe(0);
}, 180_000);

test('fifty starts after fifty crashes find the same rules, and an open flow lives on', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
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
  for (let starts = 0; starts < 50; starts++) {
    rules.process.signal('SIGKILL');
    await rules.process.exited;
    await rules.restart(net.node);
    await rules.start(section);
    expect(await ruleset(net.node)).toBe(first);
    expect(await flow.echo(`${starts}`)).toBe(`${starts}`);
  }
}, 180_000);

test('nothing is half up where nft fails, hangs or prints without end', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const file = await rules.file({ host: { backend: 'nft' } });
  const folder = join(rules.runDirectory, 'bin');
  await net.node.exec('mkdir', ['-p', folder]);
  const programs = {
    failing: 'exit 1',
    hanging: 'exec sleep 60',
    chatty: 'yes | head -c 2000000; yes | head -c 2000000 >&2; exit 1',
  };
  for (const [name, script] of Object.entries(programs)) {
    await writeFile(join(folder, 'nft'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const env = { RINGFENCE_RUN_DIR: rules.runDirectory, PATH: `${folder}:${process.env['PATH']}` };
    const result = await net.node.try(RINGFENCE, ['firewall', 'apply', file], { env });
    expect(result, name).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ERR_FIREWALL_COMMAND'),
    });
    expect(await ruleset(net.node)).toBe('');
    expect(await net.node.exec('ip', ['route', 'show', 'type', 'unreachable'])).toBe('');
  }
}, 120_000);
