// `npm run build:binary`: the program as one file, dist/binary/ringfence-linux-x64, which needs no Node.js on the machine. It is
// Node.js itself with the program, the core, the addon and the lane's worker inside (docs/install.md has its needs).
//
//   src/cli/main.ts ──rolldown──▶ main.mjs ────┐
//   src/lane/worker.ts ──rolldown──▶ worker.cjs ┤
//   wasm/wireguard.wasm, the addon ─────────────┴──node --build-sea──▶ ringfence-linux-ARCH
//
// Two builds of one commit with the same tools are byte for byte the same. V8's code cache would make them differ, for 60 ms
// of the start.

import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Plugin, rolldown } from 'rolldown';
import { print } from '../scripts/report.ts';
import { prebuildAddon } from './addon.ts';
import { DIST, NODE, ROOT, readManifest, run } from './checkout.ts';

export const BINARY_FOLDER = join(DIST, 'binary');

/** What is a file in a checkout and a package, and lies inside the executable here. */
const SUBSTITUTES: Readonly<Record<string, string>> = {
  'native/addon-file.ts': 'addon-file.ts',
  'wasm/core-file.ts': 'core-file.ts',
  'src/lane/start-worker.ts': 'start-worker.ts',
};

export interface BinaryParts {
  /** A Node.js for the machine that the binary is for, of the version of the checkout. */
  readonly node: string;
  readonly addon: string;
  readonly output: string;
}

async function substitutes(): Promise<Plugin> {
  const files = new Map(
    Object.entries(SUBSTITUTES).map(([path, own]) => [join(ROOT, path), join(ROOT, 'packaging/binary', own)]),
  );
  const versionFile = join(ROOT, 'src/cli/version.ts');
  const { version } = await readManifest(ROOT);
  return {
    name: 'what lies inside the executable',
    async resolveId(specifier, importer, options) {
      const resolved = await this.resolve(specifier, importer, { ...options, skipSelf: true });
      return (resolved && files.get(resolved.id)) ?? resolved;
    },
    load: (id) => (id === versionFile ? `export const VERSION = ${JSON.stringify(version)};` : null),
  };
}

/** One script without imports but those of Node.js. */
async function bundle(entry: string, output: string, format: 'esm' | 'cjs'): Promise<void> {
  const build = await rolldown({
    input: join(ROOT, entry),
    platform: 'node',
    plugins: [await substitutes()],
    onLog: (level, log) => {
      throw new Error(`${entry}: ${level}: ${log.message}`);
    },
  });
  await build.write({ file: output, format, codeSplitting: false, comments: false });
  await build.close();
}

/** Builds the executable. `executable` of --build-sea must be of the version that runs it, also for another machine. */
export async function buildBinary({ node, addon, output }: BinaryParts): Promise<void> {
  const folder = join(BINARY_FOLDER, 'parts');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await bundle('src/cli/main.ts', join(folder, 'main.mjs'), 'esm');
  await bundle('src/lane/worker.ts', join(folder, 'worker.cjs'), 'cjs');
  await copyFile(addon, join(folder, 'tuntap2.node'));
  await copyFile(join(ROOT, 'wasm/wireguard.wasm'), join(folder, 'wireguard.wasm'));
  await copyFile(node, join(folder, 'node'));
  await run(process.env['STRIP'] ?? 'strip', ['--strip-unneeded', join(folder, 'node')]);
  const config = {
    main: 'main.mjs',
    mainFormat: 'module',
    executable: 'node',
    output: 'ringfence',
    disableExperimentalSEAWarning: true,
    useCodeCache: false,
    execArgv: ['--max-semi-space-size=1'], // bin/ringfence has the reason
    execArgvExtension: 'none',
    assets: Object.fromEntries(['worker.cjs', 'tuntap2.node', 'wireguard.wasm'].map((name) => [name, name])),
  };
  await writeFile(join(folder, 'sea.json'), JSON.stringify(config));
  await run(NODE, ['--build-sea', 'sea.json'], { cwd: folder });
  await copyFile(join(folder, 'ringfence'), output);
  await rm(folder, { recursive: true });
}

/** The executable for the machine that builds it. @returns its file */
export async function buildOwnBinary(
  output = join(BINARY_FOLDER, `ringfence-linux-${process.arch}`),
): Promise<string> {
  await buildBinary({ node: NODE, addon: await prebuildAddon(), output });
  return output;
}

if (import.meta.main) {
  // Three arguments are the parts of another machine's, from packaging/binary-arm64.sh.
  const [node, addon, output] = process.argv.slice(2);
  if (node === undefined) print(await buildOwnBinary());
  else if (addon !== undefined && output !== undefined) await buildBinary({ node, addon, output });
  else throw new Error('usage: binary.ts [NODE ADDON OUTPUT]');
}
