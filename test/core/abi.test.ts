// The built core is what its sources build, and offers exactly the surface wasm/index.ts was written against.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { compile } from 'wireguard-wasm';

const wasm = (name: string): URL => new URL(`../../wasm/${name}`, import.meta.url);
const recorded = new Map(
  readFileSync(wasm('wireguard.wasm.sha256'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(/\s+(.*)/) as [string, string]),
);

test('the committed core has the digest that was recorded for it', () => {
  expect(
    createHash('sha256')
      .update(readFileSync(wasm('wireguard.wasm')))
      .digest('hex'),
  ).toBe(recorded.get('wasm'));
});

test('its sources have not changed since it was built', () => {
  const now = execFileSync(wasm('build.sh').pathname, ['--sources'], { encoding: 'utf8' }).trim();
  expect(now, 'run wasm/build.sh and commit the core with its sources').toBe(recorded.get('sources'));
});

test('it carries no path of the machine that built it', () => {
  const text = readFileSync(wasm('wireguard.wasm'), 'latin1');
  expect(text.match(/\/(?:root|home|work|tmp|usr|build)\/[\w./-]{3,}/g) ?? []).toEqual([]);
});

test('it exports and imports what the wrapper knows, and nothing else', () => {
  const module = compile();
  const exported = WebAssembly.Module.exports(module).map(({ name }) => name);
  expect(exported.sort()).toEqual([
    'add_keys',
    'add_peer',
    'adopt_next_identity',
    'aead',
    'allow',
    'answers',
    'disallow',
    'drop_reason_name',
    'filter_disable',
    'filter_drops',
    'filter_enable',
    'filter_follow',
    'filter_log',
    'filter_meters',
    'filter_status',
    'handshakes',
    'handshakes_waiting',
    'heard',
    'inbound',
    'judge',
    'layout',
    'load',
    'lookup',
    'memory',
    'outbound',
    'peer_status',
    'policy_begin',
    'policy_commit',
    'policy_stage',
    'prefer_other_keys',
    'probe_endpoint',
    'release',
    'release_at',
    'remove_peer',
    'renew_session',
    'replies',
    'say',
    'set_endpoint',
    'set_identity',
    'set_keepalive',
    'set_mtu',
    'set_next_identity',
    'set_offloads',
    'set_preshared_key',
    'set_time',
    'settle_keys',
    'stale_sources',
    'tick',
  ]);
  const imported = WebAssembly.Module.imports(module).map(({ module: from, name }) => `${from}.${name}`);
  const allowed = [
    'clock_time_get',
    'environ_get',
    'environ_sizes_get',
    'fd_write',
    'proc_exit',
    'random_get',
    'sched_yield',
  ].map((name) => `wasi_snapshot_preview1.${name}`);
  expect(imported.filter((name) => !allowed.includes(name))).toEqual([]);
});
