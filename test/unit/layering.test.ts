// Who may import whom: the folders of src/ point down only, the two workspaces know nothing of each other or of src/, and a
// package is used where it is for. The table here is the one that counts; a new arrow or package is a decision first.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { withoutComments } from './source-text.ts';

const ROOT = new URL('../..', import.meta.url).pathname;

interface Rule {
  /** Folders and files of src/, beside its own. */
  readonly imports: readonly string[];
  /** Of which only types may be imported. */
  readonly types?: readonly string[];
  readonly packages: readonly string[];
  /** Nothing of Node.js: the same values in, the same values out. */
  readonly isPure?: boolean;
}

const FOLDERS = ['node', 'lane', 'config', 'policy', 'firewall', 'control', 'join', 'dns', 'address'];

const RULES: Readonly<Record<string, Rule>> = {
  'index.ts': { imports: [...FOLDERS, 'errors.ts', 'log.ts', 'node-22.ts'], packages: [] },
  cli: {
    imports: [...FOLDERS, 'bench', 'errors.ts', 'html.ts', 'html-page.ts', 'log.ts', 'node-22.ts'],
    packages: ['commander', 'qr', 'node-tuntap2', 'wireguard-wasm'],
  },
  bench: {
    imports: ['lane', 'config', 'policy', 'control', 'address', 'errors.ts', 'html.ts', 'html-page.ts'],
    packages: [
      'execa',
      'yaml',
      'zod',
      'echarts',
      '@noble/ciphers',
      '@noble/hashes',
      'wireguard-wasm',
      'node-tuntap2',
    ],
  },
  node: { imports: [...FOLDERS, 'errors.ts', 'log.ts'], packages: ['execa', 'node-tuntap2'] },
  lane: { imports: ['address', 'errors.ts'], packages: ['wireguard-wasm', 'node-tuntap2'] },
  config: {
    imports: ['address', 'errors.ts'],
    types: ['policy'],
    packages: ['zod', 'yaml', 'fastest-levenshtein'],
  },
  policy: { imports: ['address'], packages: [], isPure: true },
  firewall: { imports: ['policy', 'address', 'errors.ts', 'log.ts'], packages: ['execa', 'node-tuntap2'] },
  control: {
    imports: ['config', 'address', 'errors.ts', 'html.ts', 'html-page.ts', 'log.ts'],
    packages: ['prom-client'],
  },
  join: { imports: ['config', 'control', 'address', 'errors.ts', 'log.ts'], packages: ['zod'] },
  dns: { imports: ['policy', 'address', 'errors.ts', 'log.ts'], packages: ['dns-packet'] },
  address: { imports: [], packages: [], isPure: true },
  'errors.ts': { imports: [], packages: [], isPure: true },
  'html.ts': { imports: [], packages: [], isPure: true },
  'html-page.ts': { imports: ['html.ts'], packages: [] },
  'log.ts': { imports: [], packages: ['pino'] },
  'node-22.ts': { imports: [], packages: [], isPure: true },
};

/** Renderers are pure text: what they leave out they return, and do not log. */
const PURE_FILES = /^src\/firewall\/render-/;

interface Import {
  readonly specifier: string;
  readonly isTypeOnly: boolean;
}

/** What a TypeScript source imports, statically, lazily, as a type, or as the file of a worker. Comments do not count. */
function importsOf(source: string): Import[] {
  const code = withoutComments(source);
  const found: Import[] = [];
  const statement = /^(?:import|export)\b(?:([^;'"=()]*?)\bfrom)?\s*['"]([^'"]+)['"]/gm;
  for (const [, clause = '', specifier = ''] of code.matchAll(statement)) {
    const names =
      /\{(.*)\}/s
        .exec(clause)?.[1]
        ?.split(',')
        .filter((name) => name.trim() !== '') ?? [];
    const isInline =
      names.length > 0 && !/^\s*\w+\s*,/.test(clause) && names.every((name) => /^\s*type\s/.test(name));
    found.push({ specifier, isTypeOnly: /^\s*type\b/.test(clause) || isInline });
  }
  for (const [, specifier = ''] of code.matchAll(
    /\b(?:import|require|require\.resolve|import\.meta\.resolve)\(\s*['"]([^'"]+)['"]/g,
  )) {
    found.push({ specifier, isTypeOnly: false });
  }
  for (const [, specifier = ''] of code.matchAll(
    /\bnew URL\(\s*['"](\.[^'"]+\.(?:ts|js))['"],\s*import\.meta\.url/g,
  )) {
    found.push({ specifier, isTypeOnly: false });
  }
  return found;
}

/** What a file of src/ imports against the table, one sentence each. `path` counts from the root of the repository. */
function violationsOfSource(path: string, source: string): string[] {
  const [, area = ''] = path.split('/');
  const rule = RULES[area];
  if (rule === undefined) return [`${path}: src/${area} is not in the table`];
  const isPure = rule.isPure === true || PURE_FILES.test(path);
  const problemOf = ({ specifier, isTypeOnly }: Import): string | null => {
    if (specifier.startsWith('.')) {
      const target = normalize(join(dirname(path), specifier));
      const [top, targetArea = ''] = target.split('/');
      if (top !== 'src') return 'it leaves src/';
      if (targetArea === area || rule.imports.includes(targetArea)) {
        return isPure && targetArea === 'log.ts' ? 'it is pure, and never logs' : null;
      }
      if (rule.types?.includes(targetArea))
        return isTypeOnly ? null : `of ${targetArea} it may import types only`;
      return `${area} may not import ${targetArea}`;
    }
    if (specifier.startsWith('node:'))
      return isPure && !isTypeOnly ? 'it is pure, and needs nothing of Node.js' : null;
    const name = specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/');
    return rule.packages.includes(name) ? null : `the package ${name} does not belong here`;
  };
  return importsOf(source).flatMap((entry) => {
    const problem = problemOf(entry);
    return problem === null ? [] : [`${path} imports ${entry.specifier}: ${problem}`];
  });
}

const WORKSPACES: Readonly<Record<string, string>> = { wasm: 'wireguard-wasm', native: 'node-tuntap2' };

/** What a file of a workspace, in any language, takes from the others: paths in quotes and package names. */
function violationsOfWorkspace(path: string, source: string): string[] {
  const [own = ''] = path.split('/');
  const others = ['src', ...Object.keys(WORKSPACES)].filter((folder) => folder !== own);
  const packages = ['ringfence', ...others.flatMap((folder) => WORKSPACES[folder] ?? [])];
  const code = source.replaceAll(/(?<=^|\s)\/\/[^\n]*/g, '');
  const specifiers = [...code.matchAll(/["'<]([^"'<>\n]+)["'>]/g)].map(([, text = '']) => text);
  return specifiers.flatMap((specifier) => {
    const [top = ''] = normalize(join(dirname(path), specifier)).split('/');
    const isForeign = specifier.startsWith('..') ? others.includes(top) : packages.includes(specifier);
    return isForeign ? [`${path} takes ${specifier} from outside ${own}/`] : [];
  });
}

function filesUnder(folder: string, extensions: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extensions.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter((path) => !/\/(node_modules|target|build|prebuilds|dist)\//.test(path));
}

describe('the tree', () => {
  const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

  test('src/ keeps to the table', () => {
    const files = filesUnder('src', /\.ts$/);
    expect(files.length).toBeGreaterThan(10);
    expect(files.flatMap((path) => violationsOfSource(path, read(path)))).toEqual([]);
  });

  test.each(Object.keys(WORKSPACES))('%s/ knows nothing of src/ and of the other workspace', (workspace) => {
    const files = filesUnder(workspace, /\.(ts|rs|cc|h|gyp|toml|json|sh)$/);
    expect(files.length).toBeGreaterThan(2);
    expect(files.flatMap((path) => violationsOfWorkspace(path, read(path)))).toEqual([]);
  });
});

describe('the checker', () => {
  test.each([
    ["import { x } from '../config/load.ts';", 'src/lane/turn.ts', 'lane may not import config'],
    ["import type { X } from '../config/load.ts';", 'src/lane/turn.ts', 'lane may not import config'],
    ["import {\n  x,\n  y,\n} from '../config/load.ts';", 'src/lane/turn.ts', 'lane may not import config'],
    ["export { x } from '../node/node.ts';", 'src/control/metrics.ts', 'control may not import node'],
    ["export * from '../node/node.ts';", 'src/control/metrics.ts', 'control may not import node'],
    ["import '../cli/main.ts';", 'src/node/node.ts', 'node may not import cli'],
    ["const { x } = await import('../node/node.ts');", 'src/config/load.ts', 'config may not import node'],
    [
      "new Worker(new URL('../node/node.ts', import.meta.url));",
      'src/control/metrics.ts',
      'control may not import node',
    ],
    [
      "import { compile } from '../policy/compile.ts';",
      'src/config/load.ts',
      'of policy it may import types only',
    ],
    [
      "import { type A, compile } from '../policy/model.ts';",
      'src/config/load.ts',
      'of policy it may import types only',
    ],
    ["import { createLog } from '../log.ts';", 'src/lane/turn.ts', 'lane may not import log.ts'],
    ["import { createLog } from '../log.ts';", 'src/firewall/render-nft.ts', 'it is pure, and never logs'],
    [
      "import { readFileSync } from 'node:fs';",
      'src/address/ip.ts',
      'it is pure, and needs nothing of Node.js',
    ],
    ["import { ConfigError } from '../errors.ts';", 'src/policy/model.ts', 'policy may not import errors.ts'],
    ["import { z } from 'zod';", 'src/policy/model.ts', 'the package zod does not belong here'],
    ["import type { z } from 'zod/mini';", 'src/cli/init.ts', 'the package zod does not belong here'],
    [
      "import { x } from '@scope/name/deep';",
      'src/cli/init.ts',
      'the package @scope/name does not belong here',
    ],
    ["import { x } from '../../wasm/index.ts';", 'src/lane/turn.ts', 'it leaves src/'],
    ["import { x } from './x.ts';", 'src/utils/y.ts', 'src/utils is not in the table'],
  ])('finds %s in %s', (source, path, problem) => {
    expect(violationsOfSource(path, `// a head\n${source}\n`)).toEqual([expect.stringContaining(problem)]);
  });

  test.each([
    ["import type { Policy } from '../policy/model.ts';", 'src/config/load.ts'],
    ["import { type Policy, type Rule } from '../policy/model.ts';", 'src/config/load.ts'],
    ["import { x } from './managers/ufw.ts';", 'src/firewall/detect.ts'],
    ["import { ConfigError } from '../errors.ts';", 'src/config/load.ts'],
    ["import core from 'wireguard-wasm/core';", 'src/lane/turn.ts'],
    ["// import { x } from '../cli/main.ts';", 'src/node/node.ts'],
    ["/* import { x } from '../cli/main.ts'; */", 'src/node/node.ts'],
    ["const text = 'from here'; // see '../cli/main.ts'", 'src/node/node.ts'],
  ])('lets %s stand in %s', (source, path) => {
    expect(violationsOfSource(path, `// a head\n${source}\n`)).toEqual([]);
  });

  test.each([
    ["import { open } from '../native/index.ts';", 'wasm/index.ts'],
    ["import { open } from 'node-tuntap2';", 'wasm/test/pair.test.ts'],
    ['#include "../../wasm/core/columns.h"', 'native/src/addon.cc'],
    ['include!("../../../native/src/columns.rs");', 'wasm/core/src/arena.rs'],
    ['path = "../../src/x"', 'wasm/core/Cargo.toml'],
    ["import { loadConfig } from 'ringfence';", 'native/index.ts'],
  ])('finds %s in %s', (source, path) => expect(violationsOfWorkspace(path, source)).toHaveLength(1));

  test.each([
    ['#include "columns.h"', 'native/src/addon.cc'],
    ['// twin: ../../wasm/core/src/arena.rs', 'native/src/columns.h'],
    ['include_str!("../../../test/vectors/x.json");', 'wasm/core/src/arena.rs'],
    ["import { instantiate } from '../index.ts';", 'wasm/test/abi.test.ts'],
  ])('lets %s stand in %s', (source, path) => expect(violationsOfWorkspace(path, source)).toEqual([]));
});
