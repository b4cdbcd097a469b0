// The single executable, and the Debian package of it: what they do without any Node.js in reach, what they leave behind, and
// that they can be built again.

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildOwnBinary } from '../../packaging/binary.ts';
import { ROOT } from '../../packaging/checkout.ts';
import { buildDeb } from '../../packaging/deb.ts';
import { CLEAN_ROOT, Debian } from './debian.ts';
import { inNamespace, tunnelThrough } from './tunnel.ts';

let folder = '';
let binary = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringfence-binary-'));
  binary = await buildOwnBinary();
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test('it carries a tunnel, lane and addon included', async () => {
  await tunnelThrough([binary]);
});

test('it starts itself again for what runs in the background', async () => {
  await writeFile(join(folder, 'background.sh'), BACKGROUND);
  const { stdout } = await execa(...inNamespace('bash', join(folder, 'background.sh'), binary), {
    cwd: folder,
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
  });
  expect(stdout.split('\n')).toEqual([
    'rf-bare answers',
    'rf-node answers',
    'rf-quick answers',
    'nothing is left',
  ]);
});

/** The three ways into the background; the folder for temporary files is empty when all have ended, and before. */
const BACKGROUND = `
set -euo pipefail
answers() { [[ $("$1" status "$2") == "$2 "* ]] && echo "$2 answers"; }
"$1" rf-bare; answers "$1" rf-bare; ip link del rf-bare
"$1" init --name rf-node --address 10.9.0.1/24 >/dev/null
"$1" up ringfence.yaml; answers "$1" rf-node; "$1" down ringfence.yaml
(umask 077; printf '[Interface]\\nPrivateKey = %s\\nAddress = 10.8.0.1/24\\n' "$("$1" genkey)" >rf-quick.conf)
"$1" up ./rf-quick.conf; answers "$1" rf-quick; "$1" down ./rf-quick.conf
find "$TMPDIR" /dev/shm -name 'ringfence-*' | grep . || echo 'nothing is left'
`;

test('it draws the page of a benchmark', async () => {
  const results = join(ROOT, 'bench/results');
  const [newest = ''] = (await readdir(results))
    .filter((name) => name.endsWith('.json'))
    .sort()
    .reverse();
  await execa(binary, ['bench', 'report', join(results, newest), join(folder, 'page.html')]);
  expect(await readFile(join(folder, 'page.html'), 'utf8')).toMatch(/<svg/);
});

test('Node.js options of the environment are not its own', async () => {
  const { stdout } = await execa(binary, ['--version'], { env: { NODE_OPTIONS: '--require=/nowhere' } });
  expect(stdout).toMatch(/^ringfence v\d/);
});

test('built again, it is the same to the byte', async () => {
  const again = await buildOwnBinary(join(folder, 'again'));
  expect((await readFile(again)).equals(await readFile(binary))).toBe(true);
});

/** Packing takes longer than all else that is tried here. */
const PLAIN = ['-Znone'];

describe('the Debian package', () => {
  let deb = '';
  beforeAll(async () => {
    deb = await buildDeb(binary, PLAIN);
  });

  // What is missing is named where scripts/setup could not get it.
  test.skipIf(!existsSync(CLEAN_ROOT))(
    'installed on a system without Node.js, it runs nodes under systemd, and purged it leaves nothing',
    async () => {
      await using debian = await Debian.unpack();
      await debian.copy(deb, 'root/ringfence.deb');
      const output = await debian.boot(join(ROOT, 'test/package/fixtures/debian.sh'));
      expect(output).toMatch(/all of it held\n$/);
    },
  );

  test.skipIf(!existsSync(CLEAN_ROOT))(
    'in a container that nobody special runs, a node needs one right',
    async () => {
      await using debian = await Debian.unpack();
      await debian.install(deb);
      const output = await debian.asNobody(join(ROOT, 'test/package/fixtures/container.sh'));
      expect(output).toMatch(/all of it held$/);
    },
  );

  test('systemd finds its unit little exposed', async () => {
    // In tenths of systemd's own scale from 0 to 10; 2.1 is what a node with a network cannot do without.
    const unit = join(ROOT, 'packaging/deb/ringfence@.service');
    await execa('systemd-analyze', ['security', '--offline=true', '--threshold=21', unit]);
  });

  test('built again, it is the same to the byte', async () => {
    const first = await readFile(deb);
    expect((await readFile(await buildDeb(binary, PLAIN))).equals(first)).toBe(true);
  });
});
