// What of a rotation is on disk, so that whoever starts after a crash accepts what the other side may use by now: new secrets
// beside the old ones, as FILE.next, and what is no secret in a file of the node.
//
//   offered   rf0.key      rf0.key.next          both are accepted
//   settled   rf0.key = rf0.key.next             the new one took the place; the copy goes last
//   done      rf0.key

import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { encodeKey, wipe } from '../config/key.ts';
import { readKeyFile } from '../config/key-file.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { stateDirectory } from './handshake-clock.ts';
import { replaceFile, syncFolder } from './replace-file.ts';

/** The file of a peer's preshared key, there or not. */
export function presharedKeyPath(config: NodeConfig, { name, presharedKeyFile }: PeerConfig): string {
  return presharedKeyFile ?? resolve(dirname(config.file), `${name}.psk`);
}

/** What the configuration calls that file. */
export function presharedKeyName(config: NodeConfig, peer: PeerConfig): string {
  return basename(presharedKeyPath(config, peer));
}

/** A secret and the one that is to follow it. */
export class SecretFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get nextPath(): string {
    return `${this.path}.next`;
  }

  /** The one that is to follow, 32 bytes, which the caller wipes; null where none is, or it is in place already. */
  async next(): Promise<Uint8Array | null> {
    const next = read(this.nextPath);
    if (next === null) return null;
    const present = read(this.path);
    const isInPlace = present !== null && Buffer.from(present).equals(next);
    if (present !== null) wipe(present);
    if (!isInPlace) return next;
    wipe(next);
    await this.drop(); // a crash came before this
    return null;
  }

  /** Clears away what a crash has left of a write: it may hold a part of a secret. */
  async clearLeftovers(): Promise<void> {
    for (const path of [this.path, this.nextPath]) await rm(`${path}.new`, { force: true });
  }

  /** Puts a key beside the present one, in the place of another that was to follow. */
  async offer(key: Uint8Array): Promise<void> {
    await write(this.nextPath, key);
  }

  /** Puts the key in place. The copy stays until {@link drop}: until then a restart knows both. */
  async settle(key: Uint8Array): Promise<void> {
    await write(this.path, key);
  }

  /** The one that was to follow is no more. */
  async drop(): Promise<void> {
    await rm(this.nextPath, { force: true });
    await syncFolder(dirname(this.nextPath));
  }
}

/** What can be rotated: our own key pair, or with a peer the preshared key or the key pair it has. */
export type Rotated =
  | { readonly what: 'identity' }
  | { readonly what: 'psk' | 'peer'; readonly peer: string };

/** When the last rotation of a key began, and which of this key it was: the first is 1, none has the number of another. */
export interface Begun {
  readonly generation: number;
  readonly sinceSeconds: number;
}

interface State {
  /** When our own key pair is to be changed, in seconds since 1970; null = never. */
  readonly identityAtSeconds: number | null;
  /** The public keys that are to follow those of peers, in base64, by name. */
  readonly peers: Readonly<Record<string, string>>;
  /** By {@link nameOf} what was rotated. */
  readonly begun: Readonly<Record<string, Begun>>;
}

const NOTHING: State = { identityAtSeconds: null, peers: {}, begun: {} };

/** What of rotations is no secret. */
export class RotationState {
  readonly #file: string;
  #state: State;

  private constructor(file: string, state: State) {
    this.#file = file;
    this.#state = state;
  }

  /** A file that says nothing sensible is passed over with a warning. */
  static open(interfaceName: string, log: Pick<Log, 'warn'>): RotationState {
    const file = join(stateDirectory(), `${interfaceName}.rotations.json`);
    if (!existsSync(file)) return new RotationState(file, NOTHING);
    try {
      return new RotationState(file, parseState(JSON.parse(readFileSync(file, 'utf8'))));
    } catch (error) {
      log.warn(`what was under way of rotations cannot be read from ${file}: ${messageOf(error)}`);
      return new RotationState(file, NOTHING);
    }
  }

  get identityAtSeconds(): number | null {
    return this.#state.identityAtSeconds;
  }

  get peers(): Readonly<Record<string, string>> {
    return this.#state.peers;
  }

  /** undefined: no rotation of it has begun yet, or a file of it was put there by hand. */
  begun(rotated: Rotated): Begun | undefined {
    return this.#state.begun[nameOf(rotated)];
  }

  /** Counts a rotation, which begins now. */
  async begin(rotated: Rotated): Promise<Begun> {
    const generation = (this.begun(rotated)?.generation ?? 0) + 1;
    const begun = { generation, sinceSeconds: Math.floor(Date.now() / 1000) };
    await this.#replace({ ...this.#state, begun: { ...this.#state.begun, [nameOf(rotated)]: begun } });
    return begun;
  }

  async schedule(identityAtSeconds: number | null): Promise<void> {
    await this.#replace({ ...this.#state, identityAtSeconds });
  }

  /** The key that is to follow that of a peer; null: none. */
  async setNext(name: string, publicKey: string | null): Promise<void> {
    const { [name]: _former, ...others } = this.#state.peers;
    await this.#replace({
      ...this.#state,
      peers: publicKey === null ? others : { ...others, [name]: publicKey },
    });
  }

  async #replace(state: State): Promise<void> {
    if (JSON.stringify(state) === JSON.stringify(this.#state)) return;
    await replaceFile(this.#file, `${JSON.stringify(state, null, 2)}\n`);
    this.#state = state;
  }
}

/** No name of a peer makes two of these one. */
function nameOf(rotated: Rotated): string {
  return rotated.what === 'identity' ? rotated.what : `${rotated.what} ${rotated.peer}`;
}

function parseState(read: unknown): State {
  if (typeof read !== 'object' || read === null || !('peers' in read)) throw new Error('it has no peers');
  const at = 'identityAtSeconds' in read ? read.identityAtSeconds : null;
  const peers = Object.entries(read.peers ?? {}).filter(([, key]) => typeof key === 'string');
  const begun = Object.entries(('begun' in read && read.begun) || {}).filter(([, one]) => isBegun(one));
  return {
    identityAtSeconds: typeof at === 'number' ? at : null,
    peers: Object.fromEntries(peers),
    begun: Object.fromEntries(begun),
  };
}

function isBegun(read: unknown): read is Begun {
  return (
    typeof read === 'object' &&
    read !== null &&
    'generation' in read &&
    Number.isSafeInteger(read.generation) &&
    'sinceSeconds' in read &&
    Number.isSafeInteger(read.sinceSeconds)
  );
}

/** null where there is none. @throws Error for one that cannot be used */
function read(path: string): Uint8Array | null {
  if (!existsSync(path)) return null;
  const result = readKeyFile(path);
  if (result.ok) return result.key;
  throw Object.assign(new Error(`${path}: ${result.problem}`), { code: result.code });
}

async function write(path: string, key: Uint8Array): Promise<void> {
  const text = encodeKey(key);
  try {
    await replaceFile(path, text);
  } finally {
    wipe(text);
  }
}
