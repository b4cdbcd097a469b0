// Changes to a configuration file that its user wrote: a peer more, another value of a key. Every other byte stays as it
// is, comments and order too. Pure text; whoever writes it loads it first.

import { type Document, isMap, isPair, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml';

/** What a new peer is written with, in this order. Lists are of text that needs no quotes but those of YAML. */
export interface NewPeer {
  readonly public_key: string;
  readonly preshared_key_file?: string;
  readonly addresses: readonly string[];
  readonly profile?: string;
}

/** The file with one more peer, behind the others. The file is one that loads, and has no peer of this name. */
export function addPeer(text: string, name: string, peer: NewPeer): string {
  const document = parse(text);
  const peers = pairOf(document.contents, 'peers');
  const lines = [
    `${yamlText(name)}:`,
    ...Object.entries(peer).map(([key, value]) => `  ${key}: ${yamlOf(value)}`),
  ];
  const block = (indent: number): string => lines.map((line) => `${' '.repeat(indent)}${line}\n`).join('');
  if (peers === undefined) return `${endedLine(text)}\npeers:\n${block(2)}`;
  const { value } = peers;
  if (isMap(value) && !value.flow && value.items.length > 0) {
    const last = value.items.at(-1);
    const at = lineEnd(text, endOf(last));
    return insert(text, at, block(columnOf(text, startOf(value.items[0]))));
  }
  if (value === null || (isScalar(value) && value.value === null)) {
    return insert(text, nextLine(text, startOf(peers)), block(2));
  }
  // A flow collection, as in `peers: {}`: the library writes it anew.
  document.setIn(['peers', name], document.createNode(peer));
  return document.toString({ lineWidth: 0 });
}

/** The file with another value of a key of a peer that it has; a key that is not there comes behind the others. */
export function setPeerKey(text: string, name: string, key: string, value: string): string {
  const document = parse(text);
  const peers = pairOf(document.contents, 'peers')?.value;
  const peer = pairOf(peers, name)?.value;
  const present = pairOf(peer, key)?.value;
  if (isScalar(present) && present.range && present.anchor === undefined) {
    const [start, end] = present.range;
    return text.slice(0, start) + yamlText(value) + text.slice(end);
  }
  if (isMap(peer) && !peer.flow && peer.items.length > 0) {
    const indent = ' '.repeat(columnOf(text, startOf(peer.items[0])));
    return insert(text, lineEnd(text, endOf(peer.items.at(-1))), `${indent}${key}: ${yamlText(value)}\n`);
  }
  document.setIn(['peers', name, key], value);
  return document.toString({ lineWidth: 0 });
}

function parse(text: string): Document {
  return parseDocument(text, { schema: 'core', stringKeys: true, uniqueKeys: false, logLevel: 'silent' });
}

function pairOf(node: unknown, key: string): Pair | undefined {
  if (!isMap(node)) return undefined;
  return (node as YAMLMap).items.find((pair) => isScalar(pair.key) && String(pair.key.value) === key);
}

function rangeOf(node: unknown): readonly [number, number] {
  const range = typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined;
  return Array.isArray(range) ? [Number(range[0]), Number(range[1])] : [0, 0];
}

function startOf(pair: unknown): number {
  return isPair(pair) ? rangeOf(pair.key)[0] : 0;
}

/** Where what a pair says ends: not the comments behind it. */
function endOf(pair: unknown): number {
  if (!isPair(pair)) return 0;
  const { value } = pair;
  if (isMap(value) && !value.flow && value.items.length > 0) return endOf(value.items.at(-1));
  return Math.max(rangeOf(pair.key)[1], rangeOf(value)[1]);
}

/** Behind the line in which a value ends; a block text ends at the start of the next one already. */
function lineEnd(text: string, end: number): number {
  return text[end - 1] === '\n' ? end : nextLine(text, end);
}

function nextLine(text: string, offset: number): number {
  const newline = text.indexOf('\n', offset);
  return newline < 0 ? text.length : newline + 1;
}

function insert(text: string, at: number, block: string): string {
  return endedLine(text.slice(0, at)) + block + text.slice(at);
}

function endedLine(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`;
}

function columnOf(text: string, offset: number): number {
  return offset - (text.lastIndexOf('\n', offset - 1) + 1);
}

function yamlOf(value: string | readonly string[]): string {
  return typeof value === 'string' ? yamlText(value) : `[${value.map(yamlText).join(', ')}]`;
}

/** Plain where YAML takes it for this very text. */
function yamlText(text: string): string {
  const isPlain =
    /^[A-Za-z][A-Za-z0-9_./-]*$/.test(text) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(text);
  return isPlain || /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(\/[0-9]+)?$/.test(text) ? text : JSON.stringify(text);
}
