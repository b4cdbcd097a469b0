// What `ringfence doctor` says of an installation: folders that stand for a host's, each with one thing wrong.

import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { examineInstallation, type Places } from '../../../src/cli/installation.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { ConfigFolder, PEER } from '../config/files.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringfence-doctor-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(path: string, text = ''): string {
  const full = join(folder, path);
  mkdirSync(join(full, '..'), { recursive: true });
  writeFileSync(full, text);
  return full;
}

chmodSync(file('bin/ip'), 0o755);
file('home/.local/share/bash-completion/completions/ringfence');

/** A host where all is well and systemd has nothing to do with it. */
const WELL: Places = {
  tun: file('tun'),
  path: `/nowhere:${join(folder, 'bin')}`,
  systemd: join(folder, 'no-systemd'),
  units: [join(folder, 'units')],
  files: join(folder, 'files'),
  home: join(folder, 'home'),
  shell: '/bin/bash',
};

/** Whoever runs the tests may have no right, which is said of them. */
const said = (
  places: Partial<Places>,
  config = null as Parameters<typeof examineInstallation>[1],
): string[] =>
  examineInstallation({ ...WELL, ...places }, config)
    .filter(({ what }) => !what.includes('CAP_NET_ADMIN'))
    .map(({ kind, what, remedy }) => `${kind}: ${what.replaceAll(folder, '')}; ${remedy}`);

test('where all is well it says nothing', () => expect(said({})).toEqual([]));

test.each<[string, Partial<Places>, RegExp]>([
  ['no device', { tun: join(folder, 'no-tun') }, /^problem: there is no \/no-tun.*modprobe tun/],
  ['no ip', { path: join(folder, 'files') }, /^problem: ip is not installed.*iproute2$/],
  ['no unit', { systemd: folder }, /^note: systemd has no ringfence@\.service/],
  [
    'no completion',
    { shell: '/usr/bin/fish' },
    /^note: fish completes.*ringfence completion fish >~\/\.config/,
  ],
])('%s', (_, places, sentence) => {
  expect(said(places)).toEqual([expect.stringMatching(sentence)]);
});

test('another program of this name comes first in PATH', () => {
  chmodSync(file('other/bin/ringfence'), 0o755);
  const path = `${join(folder, 'other/bin')}:${WELL.path}`;
  expect(said({ path })).toEqual([expect.stringMatching(/^note: ringfence in PATH is another one: \/other/)]);
});

test("keys that the unit's user cannot read, for root has put them there", () => {
  using config = new ConfigFolder();
  writeFileSync(config.file, `${PEER}    addresses: [10.9.0.2]\n`);
  file('units/ringfence@.service');
  const loaded = loadConfig(config.file);
  const places = { systemd: folder, files: config.path };
  expect(said(places, loaded)).toEqual([]);
  // The folder of nobody else's files, where this user's keys are.
  if (process.getuid?.() !== 0) return;
  chownSync(config.path, 65_534, 65_534);
  expect(said(places, loaded)).toEqual([
    expect.stringMatching(/^problem: .*rf0\.key: it belongs to another user; chown/),
  ]);
});
