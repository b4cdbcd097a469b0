// Who has a network of the host: one node at a time, and nobody once its process is gone.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Commands } from '../../../src/firewall/commands.ts';
import { HostState } from '../../../src/firewall/host-state.ts';

let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'host-state-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

const home = () => new HostState(new Commands(), folder, 'home');

test('a network has one node, and another is told which', () => {
  home().claim('rf0', process.ppid);
  expect(() => home().claim('rf1')).toThrow(
    `the network home is that of the node of rf0 (process ${process.ppid})`,
  );
  new HostState(new Commands(), folder, 'work').claim('rf1');
});

test('a process that is gone, or is another of the same number, has none', () => {
  home().claim('rf0', process.ppid);
  const file = join(folder, 'firewall', 'home.owner');
  const owner = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, JSON.stringify({ ...owner, startedAt: '1' }));
  home().claim('rf1');
  home().release();
  home().claim('rf2', process.ppid);
});
