// What a file says of its policy, key by key as text: for the difference between two files. Where it stands does not count,
// nor in which of its two files.

import { renderPath } from '../quote.ts';
import type { Path } from '../report.ts';
import type { Tree } from '../tree.ts';
import { peerAccess } from './peer.ts';

/** By path, such as `firewall.services.files.addr`: the items of a list, or the one value of another key. */
export type PolicyText = ReadonlyMap<string, readonly string[]>;

/** Of a root whose `firewall` has taken in what its `file` says. */
export function policyTextOf(root: Tree): PolicyText {
  const text = new Map<string, readonly string[]>();
  if (root.kind !== 'map') return text;
  for (const [name, { value }] of root.entries) {
    if (name === 'firewall') flatten(value, [name], text);
    if (name !== 'peers' || value.kind !== 'map') continue;
    for (const [peer, section] of value.entries) {
      if (section.value.kind !== 'map') continue;
      for (const [key, entry] of section.value.entries)
        if (Object.hasOwn(peerAccess, key)) flatten(entry.value, [name, peer, key], text);
    }
  }
  return text;
}

function flatten(tree: Tree, path: Path, text: Map<string, readonly string[]>): void {
  switch (tree.kind) {
    case 'map':
      for (const [name, { value }] of tree.entries) flatten(value, [...path, name], text);
      return;
    case 'list': {
      const plain = tree.items.flatMap((item) => (item.kind === 'scalar' ? [String(item.value)] : []));
      if (plain.length === tree.items.length) text.set(renderPath(path), plain);
      else for (const [index, item] of tree.items.entries()) flatten(item, [...path, index], text);
      return;
    }
    case 'scalar':
      text.set(renderPath(path), [String(tree.value)]);
      return;
    case 'broken':
      return; // it was reported
    default:
      tree satisfies never;
  }
}
