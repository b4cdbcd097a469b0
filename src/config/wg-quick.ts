// A wg-quick file (wg-quick(8), wg(8)) → QuickConfig, or a ConfigError with every problem of the file at once.
// It is read as bytes: its keys never become strings.

import { basename } from 'node:path';
import { type Endpoint, parseEndpoint } from '../address/endpoint.ts';
import { type IpAddress, parseIp } from '../address/ip.ts';
import { type IpInterface, type IpPrefix, networkOf, parseInterface } from '../address/prefix.ts';
import type { ErrorCode, Place } from '../errors.ts';
import { INTERFACE_NAME } from './interface-name.ts';
import { decodeKey, wipe } from './key.ts';
import { quote } from './quote.ts';
import { Report } from './report.ts';
import { readSourceBytes } from './source.ts';

/** What a wg-quick file says. Whoever holds it calls {@link wipeQuickConfig} when the device has its keys. */
export interface QuickConfig {
  readonly file: string;
  /** The interface: what the file is called, less `.conf`. */
  readonly name: string;
  /** 32 bytes; null leaves the device without one. */
  readonly privateKey: Uint8Array | null;
  /** null: any free port. */
  readonly listenPort: number | null;
  /** 0: none. */
  readonly fwmark: number;
  readonly addresses: readonly IpInterface[];
  readonly dns: { readonly servers: readonly IpAddress[]; readonly search: readonly string[] };
  readonly mtu: number | null;
  /** A table of `ip route`, by number or name. */
  readonly table: 'auto' | 'off' | { readonly name: string };
  /** Lines for a shell, `%i` not yet replaced. */
  readonly hooks: Readonly<Record<HookName, readonly string[]>>;
  readonly saveConfig: boolean;
  readonly peers: readonly QuickPeer[];
}

export interface QuickPeer {
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array | null;
  readonly allowedIps: readonly IpPrefix[];
  readonly endpoint: Endpoint | null;
  /** 0: off. */
  readonly keepaliveSeconds: number;
  /** Where its section begins. */
  readonly place: Place;
}

export const HOOK_NAMES = ['PreUp', 'PostUp', 'PreDown', 'PostDown'] as const;
export type HookName = (typeof HOOK_NAMES)[number];

const SUFFIX = '.conf';
const NEWLINE = 0x0a;
const HASH = 0x23;
const EQUALS = 0x3d;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
interface PeerDraft extends Omit<Mutable<QuickPeer>, 'publicKey' | 'allowedIps'> {
  publicKey: Uint8Array | null;
  readonly allowedIps: IpPrefix[];
  readonly offset: number;
}
interface Draft {
  privateKey: Uint8Array | null;
  listenPort: number | null;
  fwmark: number;
  readonly addresses: IpInterface[];
  readonly servers: IpAddress[];
  readonly search: string[];
  mtu: number | null;
  table: QuickConfig['table'];
  readonly hooks: Record<HookName, string[]>;
  saveConfig: boolean;
  readonly peers: PeerDraft[];
}

/** One `Key = value`: the value as bytes, and where it stands. */
interface Entry {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly offset: number;
}

/** Why a value is none, and its code. */
interface Refusal {
  readonly code: ErrorCode;
  readonly problem: string;
  readonly hint?: string;
}

/** Takes a value into the draft, or says why not. */
type Reader<T> = (target: T, value: string, bytes: Uint8Array) => Refusal | undefined;

const INTERFACE_KEYS: Readonly<Record<string, Reader<Draft>>> = {
  PrivateKey: (draft, _value, bytes) =>
    readKey(bytes, (key) => {
      draft.privateKey = key;
    }),
  ListenPort: (draft, value) =>
    readNumber(value, 65_535, 'ERR_CONFIG_PORT', (port) => {
      draft.listenPort = port;
    }),
  FwMark: (draft, value) =>
    readNumber(value === 'off' ? '0' : value, 0xffff_ffff, 'ERR_CONFIG_TYPE', (mark) => {
      draft.fwmark = mark;
    }),
  Address: (draft, value) => readList(value, 'ERR_CONFIG_ADDRESS', parseInterface, draft.addresses),
  DNS: (draft, value) => {
    for (const item of itemsOf(value)) {
      const address = parseIp(item);
      if (address.ok) draft.servers.push(address.value);
      else if (/^[0-9.]+$|:/.test(item)) return refusal('ERR_CONFIG_ADDRESS', item, address.problem);
      else draft.search.push(item);
    }
    return undefined;
  },
  MTU: (draft, value) =>
    readNumber(value, 65_535 - 80, 'ERR_CONFIG_MTU', (mtu) => {
      draft.mtu = mtu;
    }),
  Table: (draft, value) => {
    if (!/^[\w.-]{1,31}$/.test(value))
      return refusal('ERR_CONFIG_TYPE', value, 'a table is off, auto, a number or a name');
    draft.table = value === 'auto' || value === 'off' ? value : { name: value };
    return undefined;
  },
  SaveConfig: (draft, value) => {
    if (value !== 'true' && value !== 'false')
      return refusal('ERR_CONFIG_TYPE', value, 'it is true or false');
    draft.saveConfig = value === 'true';
    return undefined;
  },
  ...Object.fromEntries(
    HOOK_NAMES.map((name): [string, Reader<Draft>] => [
      name,
      (draft, value) => {
        draft.hooks[name].push(value);
        return undefined;
      },
    ]),
  ),
};

const PEER_KEYS: Readonly<Record<string, Reader<PeerDraft>>> = {
  PublicKey: (peer, _value, bytes) =>
    readKey(bytes, (key) => {
      peer.publicKey = key;
    }),
  PresharedKey: (peer, _value, bytes) =>
    readKey(bytes, (key) => {
      peer.presharedKey = key;
    }),
  AllowedIPs: (peer, value) => readList(value, 'ERR_CONFIG_ROUTE', parseAllowedIp, peer.allowedIps),
  Endpoint: (peer, value) => {
    const parsed = parseEndpoint(value);
    if (!parsed.ok) return refusal('ERR_CONFIG_ENDPOINT', value, parsed.problem);
    peer.endpoint = parsed.value;
    return undefined;
  },
  PersistentKeepalive: (peer, value) =>
    readNumber(value === 'off' ? '0' : value, 65_535, 'ERR_CONFIG_KEEPALIVE', (seconds) => {
      peer.keepaliveSeconds = seconds;
    }),
};

/** The interface a wg-quick file is for, or null where its name is none. */
function interfaceNameOf(file: string): string | null {
  const name = basename(file, SUFFIX);
  return file.endsWith(SUFFIX) && INTERFACE_NAME.test(name) ? name : null;
}

/** @throws ConfigError with every problem, in file order; no key is left in memory then */
export function loadQuickConfig(file: string): QuickConfig {
  const report = new Report(file);
  const name = interfaceNameOf(file);
  const bytes = readSourceBytes(file);
  const draft = emptyDraft();
  try {
    if (name === null) {
      const hint =
        'wg-quick takes the name of the interface from it, as in wg0.conf: 1 to 15 letters, digits or any of _ = + . -';
      report.add(
        'ERR_CONFIG_NAME',
        0,
        [],
        'the name of the file is not that of an interface and .conf',
        hint,
      );
    }
    readSections(bytes, draft, report);
    report.throwProblems();
    return configOf(file, name ?? '', draft, report);
  } catch (error) {
    wipeDraft(draft);
    throw error;
  } finally {
    wipe(bytes);
  }
}

/** Overwrites the keys with zeros. */
export function wipeQuickConfig({ privateKey, peers }: QuickConfig): void {
  wipeDraft({ privateKey, peers });
}

function wipeDraft(held: {
  readonly privateKey: Uint8Array | null;
  readonly peers: readonly { readonly presharedKey: Uint8Array | null }[];
}): void {
  const keys = [held.privateKey, ...held.peers.map(({ presharedKey }) => presharedKey)];
  wipe(...keys.filter((key) => key !== null));
}

function emptyDraft(): Draft {
  return {
    privateKey: null,
    listenPort: null,
    fwmark: 0,
    addresses: [],
    servers: [],
    search: [],
    mtu: null,
    table: 'auto',
    hooks: { PreUp: [], PostUp: [], PreDown: [], PostDown: [] },
    saveConfig: false,
    peers: [],
  };
}

function readSections(bytes: Uint8Array, draft: Draft, report: Report): void {
  let take: ((entry: Entry) => void) | undefined;
  for (const { text, offset } of linesOf(bytes, report)) {
    if (text.length === 0) continue;
    if (text[0] === 0x5b /* [ */) {
      take = section(textOf(text).toLowerCase(), offset, draft, report);
      continue;
    }
    const entry = entryOf(text, offset);
    if (entry === null) report.add('ERR_CONFIG_SYNTAX', offset, [], 'this line is not KEY = VALUE');
    else if (take === undefined)
      report.add('ERR_CONFIG_SYNTAX', offset, [], 'a key before any section', 'begin with [Interface]');
    else take(entry);
  }
  for (const peer of draft.peers) {
    if (peer.publicKey === null)
      report.add('ERR_CONFIG_MISSING_KEY', peer.offset, [], 'this peer has no PublicKey');
  }
}

/** What takes the lines below a section's head. Those below an unknown one are passed over: the head was reported. */
function section(head: string, offset: number, draft: Draft, report: Report): (entry: Entry) => void {
  if (head === '[interface]') return (entry) => readEntry(INTERFACE_KEYS, draft, entry, report);
  if (head !== '[peer]') {
    report.add('ERR_CONFIG_UNKNOWN_KEY', offset, [], 'unknown section; there are [Interface] and [Peer]');
    return () => undefined;
  }
  const peer: PeerDraft = {
    publicKey: null,
    presharedKey: null,
    allowedIps: [],
    endpoint: null,
    keepaliveSeconds: 0,
    place: report.place(offset, []),
    offset,
  };
  draft.peers.push(peer);
  return (entry) => readEntry(PEER_KEYS, peer, entry, report);
}

function readEntry<T>(
  keys: Readonly<Record<string, Reader<T>>>,
  target: T,
  entry: Entry,
  report: Report,
): void {
  const { key, bytes, offset } = entry;
  const known = Object.entries(keys).find(([name]) => name.toLowerCase() === key.toLowerCase());
  if (known === undefined) {
    const message = `unknown key ${quote(key)}; known in this section: ${Object.keys(keys).join(', ')}`;
    report.add('ERR_CONFIG_UNKNOWN_KEY', offset, [], message);
    return;
  }
  const [name, read] = known;
  // A key is read from the bytes; anything else is text.
  const refused = read(target, /Key$/.test(name) ? '' : textOf(bytes), bytes);
  if (refused !== undefined)
    report.add(refused.code, offset, [], `${name}: ${refused.problem}`, refused.hint);
}

/** The lines less comments and surrounding space, telling `report` where they begin. */
function* linesOf(bytes: Uint8Array, report: Report): Generator<{ text: Uint8Array; offset: number }> {
  for (let begin = 0; begin < bytes.length; ) {
    report.addLine(begin);
    const newline = bytes.indexOf(NEWLINE, begin);
    const end = newline === -1 ? bytes.length : newline;
    const comment = bytes.subarray(begin, end).indexOf(HASH);
    const stop = comment === -1 ? end : begin + comment;
    const { from, to } = trimmed(bytes, begin, stop);
    yield { text: bytes.subarray(from, to), offset: from };
    begin = end + 1;
  }
}

function entryOf(line: Uint8Array, offset: number): Entry | null {
  const equals = line.indexOf(EQUALS);
  if (equals === -1) return null;
  const key = trimmed(line, 0, equals);
  const value = trimmed(line, equals + 1, line.length);
  return {
    key: textOf(line.subarray(key.from, key.to)),
    bytes: line.subarray(value.from, value.to),
    offset: offset + value.from,
  };
}

function trimmed(bytes: Uint8Array, begin: number, end: number): { from: number; to: number } {
  const isSpace = (index: number): boolean => (bytes[index] ?? 0) <= 0x20;
  let [from, to] = [begin, end];
  while (from < to && isSpace(from)) from += 1;
  while (to > from && isSpace(to - 1)) to -= 1;
  return { from, to };
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

function itemsOf(value: string): string[] {
  return value.split(/[\s,]+/).filter((item) => item !== '');
}

function readKey(bytes: Uint8Array, set: (key: Uint8Array) => void): Refusal | undefined {
  const key = decodeKey(bytes);
  if (key !== null) {
    set(key);
    return undefined;
  }
  // Never quoted: it is a secret that lost a character.
  return {
    code: 'ERR_CONFIG_KEY',
    problem: 'this is not a key: it has 44 characters of base64, the last a "="',
  };
}

/** A number in decimal or, with 0x, in hexadecimal, as wg(8) reads marks and ports. */
function readNumber(
  value: string,
  most: number,
  code: ErrorCode,
  set: (number: number) => void,
): Refusal | undefined {
  const number = /^(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})$/.test(value) ? Number(value) : Number.NaN;
  if (!(number <= most)) return refusal(code, value, `it is a number from 0 to ${most}`);
  set(number);
  return undefined;
}

function readList<T>(
  value: string,
  code: ErrorCode,
  parse: (
    text: string,
  ) => { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string },
  into: T[],
): Refusal | undefined {
  for (const item of itemsOf(value)) {
    const parsed = parse(item);
    if (!parsed.ok) return refusal(code, item, parsed.problem);
    into.push(parsed.value);
  }
  return undefined;
}

/** Bits beyond the length are cut off, as wg(8) does: existing files have them. */
function parseAllowedIp(text: string): { ok: true; value: IpPrefix } | { ok: false; problem: string } {
  const parsed = parseInterface(text);
  return parsed.ok ? { ok: true, value: networkOf(parsed.value) } : parsed;
}

function refusal(code: ErrorCode, value: string, problem: string): Refusal {
  return { code, problem: `${quote(value)}: ${problem}` };
}

/** Only for a draft that has no problems. */
function configOf(file: string, name: string, draft: Draft, report: Report): QuickConfig {
  const { servers, search, peers, ...rest } = draft;
  return {
    file,
    name,
    ...rest,
    dns: { servers, search },
    peers: peers.map(({ publicKey, offset, ...peer }) => {
      if (publicKey === null) throw new TypeError(`a peer at ${report.place(offset, []).line} has no key`);
      return { ...peer, publicKey };
    }),
  };
}
