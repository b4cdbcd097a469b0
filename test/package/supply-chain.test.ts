// What is shipped is listed whole, each part with a licence that may be shipped with ours.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeAll, expect, test } from 'vitest';
import { ROOT } from '../../packaging/checkout.ts';
import { type Bom, billOfMaterials, licenceNames, licences } from '../../packaging/supply-chain.ts';

/** Licences that ask for their text, which is in LICENSES.txt, and for nothing else. */
const PERMITTED = [
  'MIT',
  'ISC',
  '0BSD',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'Apache-2.0',
  'Zlib',
  'Apache-2.0 WITH LLVM-exception',
];

let bom: Bom;

beforeAll(async () => {
  bom = await billOfMaterials();
});

test('every npm package that is not of development is in the bill of materials', async () => {
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version: string; dev?: true; link?: true }>;
  };
  const installed = Object.entries(lock.packages)
    .filter(([path, { dev, link }]) => path.startsWith('node_modules/') && dev !== true && link !== true)
    .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`);
  const listed = new Set(bom.components.map(({ name, version }) => `${name}@${version}`));
  expect(installed.length).toBeGreaterThan(20);
  expect(installed.filter((name) => !listed.has(name))).toEqual([]);
  expect([...listed].filter((name) => /^(vitest|typescript|rolldown)@/.test(name))).toEqual([]);
});

test('every crate that is compiled into the core is in it, and no other', async () => {
  const facts = ['tree', '--locked', '--package=wireguard-core', '--target=wasm32-wasip1', '--prefix=none'];
  const { stdout } = await execa(join(ROOT, 'scripts/cargo'), [
    ...facts,
    '--edges=normal,no-proc-macro',
    '--format={p}',
  ]);
  const lines = stdout.split('\n').map((line) => line.replace(/ \(\*\)$/, ''));
  // A path behind the version: our own, which stand under our licence.
  const foreign = lines.filter((line) => !line.includes('(')).map((line) => line.replace(' v', '@'));
  const crates = bom.components.filter(({ purl }) => purl.startsWith('pkg:cargo/'));
  expect(crates.map(({ name, version }) => `${name}@${version}`).sort()).toEqual(
    [...new Set(foreign)].sort(),
  );
});

test('each has a licence that may be shipped with ours', () => {
  const isPermitted = (expression: string): boolean =>
    expression
      .replaceAll(/[()]/g, '')
      .split(' OR ')
      .some((licence) => PERMITTED.includes(licence));
  const problems = bom.components.filter(
    (component) => licenceNames(component).length === 0 || !licenceNames(component).every(isPermitted),
  );
  expect(problems.map((component) => [component.name, licenceNames(component)])).toEqual([]);
});

test('all licences are there in full', async () => {
  const text = await licences(bom);
  const ours = ['wireguard-wasm', 'node-tuntap2'];
  const missing = bom.components.filter(({ name, version, purl }) => {
    const title = purl.startsWith('pkg:generic/node@') ? `Node.js v${version}` : `${name} ${version}`;
    return !ours.includes(name) && !text.includes(title);
  });
  expect(missing.map(({ name }) => name)).toEqual([]);
});

test('made again, it is the same', async () => {
  expect(await billOfMaterials()).toEqual(bom);
});
