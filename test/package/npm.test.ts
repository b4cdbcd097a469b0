// The npm packages as a user has them: installed from their tarballs into an empty folder, on each Node.js they are for.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NODE, ROOT, readManifest } from '../../packaging/checkout.ts';
import { buildPackages } from '../../packaging/packages.ts';
import { generateKeyPair } from '../support/keys.ts';
import { writeNode } from '../support/node-process.ts';
import { inNamespace, tunnelThrough } from './tunnel.ts';

const TOOLS = join(ROOT, 'packaging/tools/node_modules');
const PACKAGES = ['wireguard-wasm', 'node-tuntap2', 'ringfence'] as const;
const NODES = [
  ['22', join(TOOLS, 'node-22/bin/node')],
  ['24', join(TOOLS, 'node-24/bin/node')],
  ['26', NODE],
] as const;

let folder = '';
let tarballs: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringfence-user-'));
  tarballs = await buildPackages();
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts', ...tarballs];
  await execa('npm', install, { cwd: folder });
  const manual = await readFile(join(ROOT, 'docs/api.md'), 'utf8');
  const [, example = ''] = /```ts\n(.*?)```/s.exec(manual) ?? [];
  await writeFile(join(folder, 'program.ts'), example);
  // Types are checked as strictly as a user can have it, the packages' own declarations too.
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(USER_TSCONFIG));
  await execa(NODE, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder]);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const USER_TSCONFIG = {
  compilerOptions: {
    target: 'es2022',
    module: 'nodenext',
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    types: ['node'],
    typeRoots: [join(ROOT, 'node_modules/@types')],
    rootDir: '.',
    outDir: 'built',
  },
  include: ['program.ts'],
};

describe.each(NODES)('on Node.js %s', (major, node) => {
  test('it is that one', async () => {
    expect((await execa(node, ['--version'])).stdout).toMatch(`v${major}.`);
  });

  test('the program carries a tunnel', async () => {
    // As a shell finds it: the program's launcher takes the Node.js of PATH.
    const path = `PATH=${join(node, '..')}:${process.env['PATH']}`;
    await tunnelThrough(['env', path, join(folder, 'node_modules/.bin/ringfence')]);
  });

  test('the example of docs/api.md brings a node up and down', async () => {
    await writeNode(folder, generateKeyPair(), {
      interface: { name: 'rf0', private_key_file: 'rf0.key', addresses: ['10.9.0.1/24'], listen_port: 7 },
      peers: {},
    });
    const { stdout, stderr } = await execa(...inNamespace(node, 'built/program.js', 'ringfence.yaml'), {
      cwd: folder,
      input: 'enough\n',
    });
    expect({ stdout, stderr }).toEqual({ stdout: 'rf0 is up: UDP port 7, 0 peers\ndown', stderr: '' });
  });

  test('it meets errors by class and code', async () => {
    await writeFile(join(folder, 'bad.yaml'), 'interface:\n  listen_port: 70000\n');
    const { exitCode, stderr } = await execa(node, ['built/program.js', 'bad.yaml'], {
      cwd: folder,
      reject: false,
    });
    expect(stderr).toMatch(/^2: .* \[ERR_CONFIG_PORT\]$/m);
    expect(exitCode).toBe(2);
  });
});

describe.each(PACKAGES)('%s', (name) => {
  const staged = join(ROOT, 'dist/npm', name);

  test('publint has nothing to say', async () => {
    const { stdout } = await execa(NODE, [join(TOOLS, 'publint/src/cli.js'), 'run', '--strict', staged]);
    expect(stdout).toContain('All good!');
  });

  test('its types resolve as its code does', async () => {
    const tarball = tarballs.find((path) => path.includes(`${name}-`)) ?? '';
    const attw = join(TOOLS, '@arethetypeswrong/cli/dist/index.js');
    // The core is no module, so it has no types. Node.js 10 and require() are not what these packages are for.
    const options = ['--profile', 'esm-only', '--exclude-entrypoints', 'wireguard.wasm', '--format', 'ascii'];
    await execa(NODE, [attw, ...options, tarball]);
  });

  test('its version is that of the checkout', async () => {
    const [own, published] = await Promise.all([readManifest(ROOT), readManifest(staged)]);
    expect(published.version).toBe(own.version);
  });
});
