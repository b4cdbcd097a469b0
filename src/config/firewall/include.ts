// `firewall: {file: policy.yaml}`: a part of the section that stands in a file of its own.

import { dirname, isAbsolute, join } from 'node:path';
import { ConfigError } from '../../errors.ts';
import { quote } from '../quote.ts';
import type { Report } from '../report.ts';
import { asMap } from '../section.ts';
import { readSource } from '../source.ts';
import { type Entry, type MapTree, parseTree, type Tree } from '../tree.ts';
import { firewallSchema } from './schema.ts';

const PATH = ['firewall'];

/** The tree with the keys of the included file, where there is one, beside those of the section. Problems in it name that file. */
export function withIncluded(root: Tree, report: Report): Tree {
  const section = root.kind === 'map' ? root.entries.get('firewall') : undefined;
  if (root.kind !== 'map' || section?.value.kind !== 'map') return root;
  const file = section.value.entries.get('file')?.value;
  if (file?.kind !== 'scalar') return root;
  const name = firewallSchema.shape.file.safeParse(file.value); // what is no name is refused with the other keys
  if (!name.success || name.data === undefined) return root;
  const included = readIncluded(name.data, file.offset, report);
  if (included === null) return root; // a report says why
  const value: MapTree = { ...section.value, entries: merged(section.value, included, report) };
  return { ...root, entries: new Map(root.entries).set('firewall', { ...section, value }) };
}

function readIncluded(name: string, offset: number, report: Report): MapTree | null {
  const file = isAbsolute(name) ? name : join(dirname(report.file), name);
  let text: string;
  try {
    text = readSource(file);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const [problem] = error.problems;
    if (problem !== undefined) {
      report.add(
        problem.code,
        offset,
        [...PATH, 'file'],
        `policy file ${quote(name)}: ${problem.message}`,
        'check the name',
      );
    }
    report.throwProblems(); // every name in it would be unknown, which is no news
    return null;
  }
  report.begin(file);
  const map = asMap(report, parseTree(text, report, PATH), PATH, Object.keys(firewallSchema.shape));
  if (map === null) report.throwProblems();
  return map;
}

function merged(own: MapTree, included: MapTree, report: Report): Map<string, Entry> {
  const entries = new Map(own.entries);
  for (const [name, entry] of included.entries) {
    const path = [...PATH, name];
    const first = entries.get(name);
    if (name === 'file') {
      report.add(
        'ERR_CONFIG_UNKNOWN_KEY',
        entry.offset,
        path,
        'an included file includes no other',
        'name that file in the configuration itself',
      );
    } else if (first !== undefined) {
      const { file, line } = report.place(first.offset, path);
      const message = `${quote(name)} is written twice, first in ${file}:${line}`;
      report.add('ERR_CONFIG_DUPLICATE_KEY', entry.offset, path, message, 'keep one of them');
    } else entries.set(name, entry);
  }
  return entries;
}
