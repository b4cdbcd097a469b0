// What a file says of its peers and its policy, as texts in which neither places count nor spaces, quotes or order of files:
// by them two files are compared, and what says the same as before is not read again.

import type { z } from 'zod';
import { peerAccess } from './firewall/peer.ts';
import { renderPath } from './quote.ts';
import type { Path } from './report.ts';
import type { peerSchema } from './schema.ts';
import type { Tree } from './tree.ts';

export interface FileText {
  /** The section `firewall` with what its `file` says, as JSON; null where there is none. */
  readonly firewall: string | null;
  /** By name. */
  readonly peers: ReadonlyMap<string, PeerText>;
}

export interface PeerText {
  /** Its lines, where the file is plain: of the very same the text need not be made again. */
  readonly lines: string | null;
  /** Its section, as JSON. */
  readonly text: string;
  /** What was read of it. */
  readonly fields: z.output<typeof peerSchema>;
}

/** What JSON may write in another way than as itself. */
const ESCAPED = /[^ !#-[\]-~]/;

/** The same text for trees that say the same. */
export function textOf(tree: Tree): string {
  switch (tree.kind) {
    case 'map': {
      let text = '';
      for (const [name, { value }] of tree.entries) text += `,${quoted(name)}:${textOf(value)}`;
      return `{${text.slice(1)}}`;
    }
    case 'list': {
      let text = '';
      for (const item of tree.items) text += `,${textOf(item)}`;
      return `[${text.slice(1)}]`;
    }
    case 'scalar':
      return typeof tree.value === 'string' ? quoted(tree.value) : JSON.stringify(tree.value);
    case 'broken':
      return ''; // it was reported
    default:
      return tree satisfies never;
  }
}

/** A text as JSON: of a hundred thousand, nearly all need no more than the quotes. */
function quoted(text: string): string {
  return ESCAPED.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** The keys of the policy that the sections of `text` have, where the same sections of `other` say something else. */
export function policyKeys(text: FileText, other: FileText): Map<string, readonly string[]> {
  const keys = new Map<string, readonly string[]>();
  if (text.firewall !== null && text.firewall !== other.firewall) {
    flatten(JSON.parse(text.firewall), ['firewall'], keys);
  }
  for (const [name, peer] of text.peers) {
    if (peer.text === other.peers.get(name)?.text) continue;
    const fields: object = JSON.parse(peer.text);
    for (const [key, value] of Object.entries(fields))
      if (Object.hasOwn(peerAccess, key)) flatten(value, ['peers', name, key], keys);
  }
  return keys;
}

/** By path, such as `firewall.services.files.addr`: the items of a list, or the one value of another key. */
function flatten(value: unknown, path: Path, keys: Map<string, readonly string[]>): void {
  if (typeof value !== 'object' || value === null) {
    keys.set(renderPath(path), [String(value)]);
  } else if (Array.isArray(value) && value.every((item) => typeof item !== 'object' || item === null)) {
    keys.set(renderPath(path), value.map(String));
  } else {
    const isList = Array.isArray(value);
    for (const [key, item] of Object.entries(value))
      flatten(item, [...path, isList ? Number(key) : key], keys);
  }
}
