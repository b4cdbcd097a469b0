// What is shipped besides our own code: a CycloneDX bill of materials, and every licence in full.
//
//   package-lock.json ──npm sbom──▶ npm packages ──┐
//   wasm/NOTICE, wasm/Cargo.lock ──▶ crates ───────┼──▶ dist/ringfence.cdx.json, dist/LICENSES.txt
//   the Node.js of the checkout ───────────────────┘

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { print } from '../scripts/report.ts';
import { DIST, NODE_FOLDER, ROOT, run, sourceDate } from './checkout.ts';

/** As far as it is read or written here. https://cyclonedx.org/docs/1.5/json/ */
export interface Component {
  'bom-ref': string;
  readonly type: string;
  name: string;
  readonly version: string;
  readonly purl: string;
  readonly licenses?: readonly (
    | { readonly license: { readonly id: string } }
    | { readonly expression: string }
  )[];
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
}

export interface Bom {
  serialNumber?: string;
  readonly metadata: { timestamp: string; readonly component: Component };
  components: Component[];
  dependencies: { readonly ref: string; dependsOn: readonly string[] }[];
}

const CORE = 'wireguard-wasm';
const OWN: readonly string[] = [CORE, 'node-tuntap2'];

/** The bill of materials of this commit: the same for everyone who makes it. */
export async function billOfMaterials(): Promise<Bom> {
  // Not `--omit dev`: npm 11 then omits also what is needed both ways, such as yaml.
  const bom = JSON.parse(
    await run('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only']),
  ) as Bom;
  delete bom.serialNumber; // drawn anew each time
  bom.metadata.timestamp = new Date((await sourceDate()) * 1000).toISOString();
  for (const component of [bom.metadata.component, ...bom.components]) nameByItsPackage(component);
  await keepShipped(bom);
  const crates = await compiledCrates();
  bom.components.push(...crates, nodeItself());
  const core = bom.dependencies.find(({ ref }) => ref.startsWith(`${CORE}@`));
  if (core === undefined) throw new Error(`npm sbom does not know ${CORE}`);
  core.dependsOn = [...core.dependsOn, ...crates.map((crate) => crate['bom-ref'])];
  bom.dependencies.push(...crates.map((crate) => ({ ref: crate['bom-ref'], dependsOn: [] })));
  return bom;
}

/** Leaves out what is for development only, and who depends on it. */
async function keepShipped(bom: Bom): Promise<void> {
  const installed = await installedPackages();
  const isShipped = ({ name, version }: Component): boolean =>
    OWN.includes(name) || installed.has(`${name}@${version}`);
  const gone = new Set(bom.components.filter((one) => !isShipped(one)).map((one) => one['bom-ref']));
  bom.components = bom.components.filter((one) => !gone.has(one['bom-ref']));
  bom.dependencies = bom.dependencies
    .filter(({ ref }) => !gone.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => !gone.has(other)) }));
}

/** npm names workspaces by their folders. */
function nameByItsPackage(component: Component): void {
  component.name = component['bom-ref'].replace(/@[^@]*$/, '').replace(/^.*\|/, '');
}

/** What is compiled into the core, with the digests of the lock file. */
async function compiledCrates(): Promise<Component[]> {
  const notice = await readFile(join(ROOT, 'wasm/NOTICE'), 'utf8');
  const lock = (await readFile(join(ROOT, 'wasm/Cargo.lock'), 'utf8')).split('[[package]]');
  return [...notice.matchAll(/^=+\n(\S+) (\d\S*) \((.*)\)$/gm)].map(
    ([, name = '', version = '', licence = '']) => {
      const block = lock.find((text) => text.includes(`name = "${name}"\nversion = "${version}"\n`));
      const [, checksum] = /^checksum = "(.*)"$/m.exec(block ?? '') ?? [];
      if (checksum === undefined)
        throw new Error(`wasm/NOTICE has ${name} ${version}, wasm/Cargo.lock has not`);
      const purl = `pkg:cargo/${name}@${version}`;
      return {
        'bom-ref': purl,
        type: 'library',
        name,
        version,
        purl,
        licenses: [{ expression: licence }],
        hashes: [{ alg: 'SHA-256', content: checksum }],
      };
    },
  );
}

/** Inside the single executable only. Its own parts are in its licence. */
function nodeItself(): Component {
  const version = process.version.slice(1);
  const purl = `pkg:generic/node@${version}`;
  return {
    'bom-ref': purl,
    type: 'platform',
    name: 'node',
    version,
    purl,
    licenses: [{ license: { id: 'MIT' } }],
  };
}

/** The licences of all that the single executable and the packages hold, as text. */
export async function licences(bom: Bom): Promise<string> {
  const parts = [
    section('Ringfence', await readFile(join(ROOT, 'LICENSE'), 'utf8')),
    section('The core, wireguard.wasm', await readFile(join(ROOT, 'wasm/NOTICE'), 'utf8')),
  ];
  const installed = await installedPackages();
  for (const component of bom.components) {
    const path = installed.get(`${component.name}@${component.version}`);
    if (path === undefined) continue;
    parts.push(
      section(`${component.name} ${component.version}`, await licenceIn(join(ROOT, path), component)),
    );
  }
  const node = await readFile(join(NODE_FOLDER, 'LICENSE'), 'utf8');
  parts.push(section(`Node.js ${process.version}, in the single executable`, node));
  return parts.join('\n');
}

/** Where each package lies that is not of development only, by NAME@VERSION. */
async function installedPackages(): Promise<ReadonlyMap<string, string>> {
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<
      Record<string, { readonly version: string; readonly dev?: true; readonly link?: true }>
    >;
  };
  const packages = Object.entries(lock.packages).filter(
    ([path, { dev, link }]) => path.startsWith('node_modules/') && dev !== true && link !== true,
  );
  return new Map(
    packages.map(([path, { version }]) => [`${path.replace(/^.*node_modules\//, '')}@${version}`, path]),
  );
}

function section(title: string, text: string): string {
  const rule = '#'.repeat(100);
  return `${rule}\n# ${title}\n${rule}\n\n${text.trim()}\n`;
}

/** The licence as the package has it, with its notice; or its name, where the package has no text of it. */
async function licenceIn(folder: string, component: Component): Promise<string> {
  const files = (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isFile());
  const names = files.map(({ name }) => name).filter((name) => /^(licen[cs]e|notice|copying)/i.test(name));
  const texts = await Promise.all(names.sort().map((name) => readFile(join(folder, name), 'utf8')));
  return texts.length > 0 ? texts.join('\n\n') : licenceNames(component).join(', ');
}

/** As SPDX writes them. */
export function licenceNames({ licenses = [] }: Component): string[] {
  return licenses.map((one) => ('expression' in one ? one.expression : one.license.id));
}

/** Writes both. @returns their files */
export async function writeSupplyChain(): Promise<{ readonly bom: string; readonly licences: string }> {
  await mkdir(DIST, { recursive: true });
  const files = { bom: join(DIST, 'ringfence.cdx.json'), licences: join(DIST, 'LICENSES.txt') };
  const bom = await billOfMaterials();
  await writeFile(files.bom, `${JSON.stringify(bom, null, 2)}\n`);
  await writeFile(files.licences, await licences(bom));
  return files;
}

if (import.meta.main) for (const file of Object.values(await writeSupplyChain())) print(file);
