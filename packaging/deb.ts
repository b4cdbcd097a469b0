// `npm run build:deb`: dist/deb/ringfence_VERSION_ARCH.deb, the single executable with a systemd unit, a user of its own, man page
// and completions. The same commit gives the same bytes: files are dated by the commit, and root owns them.

import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { print } from '../scripts/report.ts';
import { buildOwnBinary } from './binary.ts';
import { DIST, ROOT, readManifest, run, sourceDate } from './checkout.ts';
import { billOfMaterials, licences } from './supply-chain.ts';

const FOLDER = join(DIST, 'deb');
const PARTS = join(ROOT, 'packaging/deb');
const MAINTAINER_SCRIPTS = ['postinst', 'prerm', 'postrm'] as const;
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/** What the executable is linked with (docs/install.md has why 2.34), and what the program calls. */
const DEPENDS = ['adduser', 'iproute2', 'libatomic1', 'libc6 (>= 2.34)', 'libgcc-s1', 'libstdc++6 (>= 11)'];

/** Where each shell looks for those of a package. */
const COMPLETIONS: Readonly<Record<string, string>> = {
  bash: 'bash-completion/completions/ringfence',
  zsh: 'zsh/vendor-completions/_ringfence',
  fish: 'fish/vendor_completions.d/ringfence.fish',
};

/** The tree of the package, before it is packed. */
class Tree {
  readonly path = join(FOLDER, 'tree');

  /** Modes do not depend on the umask of whoever builds. */
  async #folder(path: string): Promise<void> {
    const missing = await mkdir(path, { recursive: true });
    if (missing === undefined) return;
    for (let made = path; made.length >= missing.length; made = dirname(made)) await chmod(made, 0o755);
  }

  async write(path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
    const file = join(this.path, path);
    await this.#folder(dirname(file));
    await writeFile(file, content);
    await chmod(file, mode);
  }

  async copy(path: string, from: string, mode = 0o644): Promise<void> {
    const file = join(this.path, path);
    await this.#folder(dirname(file));
    await copyFile(from, file);
    await chmod(file, mode);
  }

  /** Every file, in the order of names. */
  async files(): Promise<string[]> {
    const entries = await readdir(this.path, { recursive: true, withFileTypes: true });
    const files = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    return files.map((file) => file.slice(this.path.length + 1)).sort();
  }
}

async function writeContent(tree: Tree, binary: string): Promise<void> {
  await tree.copy('usr/bin/ringfence', binary, 0o755);
  await tree.copy('usr/lib/systemd/system/ringfence@.service', join(PARTS, 'ringfence@.service'));
  const says = async (...args: readonly string[]): Promise<string> => `${await run(binary, args)}\n`;
  const compressed = (text: string): Uint8Array => gzipSync(text, { level: 9 });
  await tree.write('usr/share/man/man1/ringfence.1.gz', compressed(await says('manual')));
  for (const [shell, path] of Object.entries(COMPLETIONS)) {
    await tree.write(`usr/share/${path}`, await says('completion', shell));
  }
  const changelog = await readFile(join(ROOT, 'CHANGELOG.md'), 'utf8');
  await tree.write('usr/share/doc/ringfence/changelog.gz', compressed(changelog));
  await tree.write('usr/share/doc/ringfence/copyright', await licences(await billOfMaterials()));
  await tree.copy('usr/share/doc/ringfence/README.md', join(ROOT, 'README.md'));
}

async function writeControl(tree: Tree, architecture: string): Promise<void> {
  const { name, version, description } = await readManifest(ROOT);
  const files = (await tree.files()).filter((file) => !file.startsWith('DEBIAN/'));
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(tree.path, file))).size));
  const control = [
    `Package: ${name}`,
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    'Maintainer: Ringfence contributors <ringfence@localhost>',
    `Installed-Size: ${Math.ceil(sizes.reduce((sum, size) => sum + size, 0) / 1024)}`,
    `Depends: ${DEPENDS.join(', ')}`,
    'Recommends: nftables',
    'Suggests: wireguard-tools',
    'Section: net',
    'Priority: optional',
    `Description: ${description}`,
    ' WireGuard in WebAssembly, driven from TypeScript: no kernel module is needed. One',
    ' YAML file describes a node; it talks to every other WireGuard.',
    '',
  ];
  await tree.write('DEBIAN/control', control.join('\n'));
  const sums = await Promise.all(
    files.map(async (file) => {
      const content = await readFile(join(tree.path, file));
      return `${createHash('md5').update(content).digest('hex')}  ${file}\n`; // what dpkg --verify reads
    }),
  );
  await tree.write('DEBIAN/md5sums', sums.join(''));
  for (const script of MAINTAINER_SCRIPTS) await tree.copy(`DEBIAN/${script}`, join(PARTS, script), 0o755);
}

/** A fifth larger than the best that xz can do, in a third of the time. The number of threads shapes the bytes. */
const COMPRESSION = ['-Zxz', '-z1', '--threads-max=2'];

/** Packs `binary` for the architecture that builds it. @returns the package's file */
export async function buildDeb(
  binary: string,
  compression: readonly string[] = COMPRESSION,
): Promise<string> {
  await rm(FOLDER, { recursive: true, force: true });
  const tree = new Tree();
  const architecture = ARCHITECTURES[process.arch] ?? process.arch;
  await writeContent(tree, binary);
  await writeControl(tree, architecture);
  const { name, version } = await readManifest(ROOT);
  const file = join(FOLDER, `${name}_${version}_${architecture}.deb`);
  await run('dpkg-deb', ['--root-owner-group', ...compression, '--build', tree.path, file], {
    env: { SOURCE_DATE_EPOCH: String(await sourceDate()) },
  });
  await rm(tree.path, { recursive: true });
  return file;
}

if (import.meta.main) print(await buildDeb(await buildOwnBinary()));
