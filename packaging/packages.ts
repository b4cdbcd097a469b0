// `npm run build:packages`: what is published on npm, as dist/npm/NAME-VERSION.tgz for each of the three packages.
//
//   src/, wasm/*.ts, native/*.ts ──tsc──▶ dist/compiled ──┐
//   native/src ──prebuildify──▶ prebuilds/linux-x64 ──────┴──▶ dist/npm/NAME/ ──npm pack──▶ dist/npm/NAME-VERSION.tgz
//
// A checkout runs from its sources, so its manifests name sources; the manifests of what is published are derived here.

import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { print } from '../scripts/report.ts';
import { prebuildAddon } from './addon.ts';
import { DIST, type Manifest, ROOT, readManifest, run } from './checkout.ts';

const COMPILED = join(DIST, 'compiled');
const PACKAGES = join(DIST, 'npm');

/** Starts the program on whatever Node.js there is; twin of bin/ringfence in a checkout, which has the reason for the flag. */
const LAUNCHER = `#!/bin/sh
root=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
exec node --max-semi-space-size=1 "$root/dist/cli/main.js" "$@"
`;

type Published = Record<string, unknown>;

/** Types come first: TypeScript takes the first condition that it knows. */
const entry = (file: string): Published => ({ types: `./${file}.d.ts`, default: `./${file}.js` });

async function compile(): Promise<void> {
  await rm(COMPILED, { recursive: true, force: true });
  await run('tsc', ['-p', 'packaging']);
  for (const file of await readdir(COMPILED, { recursive: true })) {
    if (file.endsWith('.d.ts')) await nameCompiledFiles(join(COMPILED, file));
  }
}

/** tsc writes `./x.js` into JavaScript but leaves `./x.ts` in declarations, where there is no such file. */
async function nameCompiledFiles(declaration: string): Promise<void> {
  const text = await readFile(declaration, 'utf8');
  const renamed = text.replaceAll(/(from |import\()(['"])(\.[^'"]+)\.ts\2/g, '$1$2$3.js$2');
  await writeFile(declaration, renamed);
}

/** What every manifest says as it does in the checkout. */
function common({ name, version, description, license, engines, dependencies }: Manifest): Published {
  return { name, version, description, license, type: 'module', engines, os: ['linux'], dependencies };
}

/** The program and its library. */
async function stageRingfence(): Promise<string> {
  const folder = await emptyFolder('ringfence');
  const manifest = await readManifest(ROOT);
  await cp(join(COMPILED, 'src'), join(folder, 'dist'), { recursive: true });
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin/ringfence'), LAUNCHER, { mode: 0o755 });
  for (const file of ['README.md', 'LICENSE', 'CHANGELOG.md']) await cp(join(ROOT, file), join(folder, file));
  const siblings = await Promise.all(['wasm', 'native'].map((name) => readManifest(join(ROOT, name))));
  await writeManifest(folder, {
    ...common(manifest),
    bin: { ringfence: 'bin/ringfence' },
    exports: { '.': entry('dist/index'), './package.json': './package.json' },
    files: ['bin', 'dist', 'CHANGELOG.md'],
    dependencies: {
      ...manifest.dependencies,
      ...Object.fromEntries(siblings.map(({ name, version }) => [name, version])),
    },
    optionalDependencies: manifest.optionalDependencies,
  });
  return folder;
}

/** The core: what is compiled lies where its source does, beside wireguard.wasm. */
async function stageCore(): Promise<string> {
  const folder = await emptyFolder('wireguard-wasm');
  const manifest = await readManifest(join(ROOT, 'wasm'));
  const files = await stageCompiled('wasm', manifest, folder);
  await writeManifest(folder, {
    ...common(manifest),
    exports: {
      '.': entry('index'),
      './wireguard.wasm': './wireguard.wasm',
      './package.json': './package.json',
    },
    files,
  });
  return folder;
}

/** The addon with its sources, for machines that the prebuilt one does not fit. */
async function stageAddon(): Promise<string> {
  const folder = await emptyFolder('node-tuntap2');
  const manifest = await readManifest(join(ROOT, 'native'));
  await mkdir(join(folder, 'prebuilds')); // beside it in the list of files, and filled below
  const files = await stageCompiled('native', manifest, folder);
  await writeManifest(folder, {
    ...common(manifest),
    gypfile: true,
    scripts: { install: 'node-gyp-build' },
    exports: { '.': entry('index'), './package.json': './package.json' },
    files,
  });
  await cp(join(await prebuildAddon(), '..', '..'), join(folder, 'prebuilds'), { recursive: true });
  return folder;
}

/** Copies what the manifest of a workspace lists, sources in TypeScript as what they were compiled to. */
async function stageCompiled(workspace: string, { files = [] }: Manifest, folder: string): Promise<string[]> {
  const staged: string[] = [];
  for (const file of files) {
    if (!file.endsWith('.ts')) {
      if (file !== 'prebuilds')
        await cp(join(ROOT, workspace, file), join(folder, file), { recursive: true });
      staged.push(file);
      continue;
    }
    for (const compiled of [file.replace(/\.ts$/, '.js'), file.replace(/\.ts$/, '.d.ts')]) {
      await cp(join(COMPILED, workspace, compiled), join(folder, compiled));
      staged.push(compiled);
    }
  }
  return staged;
}

async function emptyFolder(name: string): Promise<string> {
  const folder = join(PACKAGES, name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  return folder;
}

async function writeManifest(folder: string, manifest: Published): Promise<void> {
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Builds the three tarballs. @returns their paths, the program's last: the others must be installed before or with it */
export async function buildPackages(): Promise<string[]> {
  await compile();
  const folders = [await stageCore(), await stageAddon(), await stageRingfence()];
  const tarballs: string[] = [];
  for (const folder of folders) {
    const packed = await run(
      'npm',
      ['pack', '--silent', '--ignore-scripts', '--pack-destination', PACKAGES],
      {
        cwd: folder,
      },
    );
    tarballs.push(join(PACKAGES, packed.trim().split('\n').at(-1) ?? ''));
  }
  return tarballs;
}

if (import.meta.main) for (const tarball of await buildPackages()) print(tarball);
