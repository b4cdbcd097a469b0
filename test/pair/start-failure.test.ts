// A host that does not let a node start is told so in one clear line with the remedy, and is left as it was.

import { chown, mkdir, readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { networkState } from '../support/host-state.ts';
import { generateKeyPair } from '../support/keys.ts';
import {
  type NodeFiles,
  OVERLAY,
  RINGFENCE,
  Scratch,
  writeNode,
  writePair,
} from '../support/node-process.ts';
import { type Routed, routed } from '../support/topology.ts';

const NOBODY = 65_534;
const ROOTLESS = process.env['RINGFENCE_TEST_ROOTLESS'] === '1';

let net: Routed;
let scratch: Scratch;
let files: NodeFiles;

beforeAll(async () => {
  scratch = await Scratch.create();
  net = await routed();
  const pair = await writePair(scratch.path, {
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
  });
  files = pair.left;
});

afterAll(async () => {
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

type Refusal = {
  readonly name: string;
  /** The command before the program. */
  readonly inside: () => Promise<readonly string[]>;
  readonly line: RegExp;
  readonly hint: RegExp;
  readonly skip?: boolean;
};

const refusals: readonly Refusal[] = [
  {
    name: 'no /dev/net/tun',
    inside: async () => ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$@"', 'sh'],
    line: /^ringfence: this system has no \/dev\/net\/tun \(ERR_NODE_PRIVILEGE\)$/,
    hint: /modprobe tun/,
  },
  {
    name: 'root without capabilities',
    inside: async () => ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--'],
    line: /^ringfence: not permitted to make the interface rf-left \(ERR_NODE_PRIVILEGE\)$/,
    hint: /CAP_NET_ADMIN/,
  },
  {
    name: 'a user who is not root',
    inside: async () => {
      await giveTo(NOBODY);
      return ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--'];
    },
    line: /^ringfence: not permitted to make the interface rf-left \(ERR_NODE_PRIVILEGE\)$/,
    hint: /run as root/,
    skip: ROOTLESS, // a user namespace of one user has no other
  },
  {
    name: 'no `ip`',
    inside: async () => ['env', `PATH=${await pathWithout('ip')}`],
    line: /^ringfence: the command `ip` is not installed \(ERR_NODE_INTERFACE\)$/,
    hint: /install iproute2/,
  },
];

/** A PATH with what starts the program, and nothing else. */
async function pathWithout(missing: string): Promise<string> {
  const folder = join(scratch.path, `path-without-${missing}`);
  await mkdir(folder);
  for (const tool of ['readlink', 'dirname']) {
    await symlink(await net.left.exec('sh', ['-c', `command -v ${tool}`]), join(folder, tool));
  }
  return folder;
}

/** Another user may read the files, as those of a service would be. */
async function giveTo(user: number): Promise<void> {
  for (const folder of [scratch.path, files.directory, files.runDirectory]) await chown(folder, user, user);
  for (const name of ['node.key', 'ringfence.yaml']) await chown(join(files.directory, name), user, user);
}

for (const { name, inside, line, hint, skip } of refusals) {
  test.skipIf(skip === true)(`${name}: exit 1, one line and its remedy, nothing left`, async () => {
    const before = await networkState(net.left);
    const [file = '', ...args] = [...(await inside()), RINGFENCE, 'run', files.configFile];
    const { code, stdout, stderr } = await net.left
      .try(file, args, { env: { RINGFENCE_RUN_DIR: files.runDirectory } })
      .finally(() => giveTo(0));
    expect(stderr.split('\n')).toEqual([expect.stringMatching(line), expect.stringMatching(hint)]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(await networkState(net.left)).toBe(before);
    expect(await readdir(files.runDirectory)).toEqual([]);
  });
}

test.each(['check', 'run'])('%s refuses a name of 16 characters, by its place, with 2', async (command) => {
  const before = await networkState(net.left);
  const { file } = files;
  const named = await writeNode(join(scratch.path, 'long-name'), generateKeyPair(), {
    ...file,
    interface: { ...file.interface, name: 'sixteen-letters-' },
  });
  const { code, stderr } = await net.left.try(RINGFENCE, [command, named.configFile], {
    env: { RINGFENCE_RUN_DIR: named.runDirectory },
  });
  expect(stderr.split('\n')[0]).toMatch(
    /ringfence\.yaml:2:9: interface\.name: "sixteen-letters-" is not .*ERR_CONFIG_NAME/,
  );
  expect(code).toBe(2);
  expect(await networkState(net.left)).toBe(before);
});
