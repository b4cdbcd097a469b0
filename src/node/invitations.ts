// The node as host: makes invites, and takes in who comes with one. Each invite is a peer of the device with the one-time
// key and no allowed IPs, so no packet passes: its holder can only redeem, once. One thing after the other.
//
//   invite ─▶ preshared key on disk ─▶ ledger ─▶ one-time peer
//   redeem ─▶ the user's file has the new peer ─▶ device ─▶ ledger     a crash in between finds the peer in the file

import { existsSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { renderEndpoint } from '../address/endpoint.ts';
import { renderIp } from '../address/ip.ts';
import { hostPrefix, packPrefix, parseInterface, renderInterface } from '../address/prefix.ts';
import { decodeKey, generatePresharedKey, renderPublicKey, wipe } from '../config/key.ts';
import { readKeyFile, writeKeyFile } from '../config/key-file.ts';
import { loadConfig } from '../config/load.ts';
import { type NodeConfig, peerNameSchema } from '../config/schema.ts';
import { parseValue } from '../config/section.ts';
import type { Answer, Question, Refusal } from '../control/talk.ts';
import type { NodeRequest, RequestHandlers } from '../control/target.ts';
import type { ModelPeer } from '../control/uapi/model.ts';
import { codeOf, messageOf, NodeError } from '../errors.ts';
import { freeAddresses } from '../join/addresses.ts';
import { Ledger, type LedgerEntry } from '../join/ledger.ts';
import { profilesOf, refuseProfile } from '../join/profile.ts';
import { isSealedWith } from '../join/request-file.ts';
import { withPeer, writePeer } from './config-file.ts';
import { stateDirectory } from './handshake-clock.ts';
import type { HostNode } from './host-node.ts';
import { parseInviteRequest } from './invite-request.ts';
import { ownEndpoints } from './own-endpoints.ts';
import { replaceFile } from './replace-file.ts';

/** Clocks further apart than this make a mess of handshakes and of what expires. */
const MOST_CLOCK_DIFFERENCE_MS = 3_600_000;
/** Invites that are over are looked for this often. */
const EXPIRE_MS = 30_000;

/** The answer to the request `invite`: what the file of the invite says beside its secrets. */
export interface InviteAnswer {
  readonly name: string;
  readonly createdSeconds: number;
  readonly expiresSeconds: number;
  readonly addresses: readonly string[];
  readonly profile: string | null;
  /** Those that it could have; null where the node has no firewall. */
  readonly profiles: readonly string[] | null;
  readonly node: {
    readonly name: string;
    readonly publicKey: string;
    readonly addresses: readonly string[];
    readonly endpoints: readonly string[];
    readonly mtu: number;
  };
  /** Where the preshared key lies. */
  readonly presharedKeyFile: string;
}

/** A line of `ringfence invite --list`. */
export type InviteState = Pick<LedgerEntry, 'name' | 'state' | 'addresses' | 'profile' | 'expiresSeconds'>;

export class Invitations implements Disposable {
  readonly requests: RequestHandlers = {
    invite: (asked) => this.#next(() => this.#invite(asked)),
    invites: async () => this.#list(),
    'revoke-invite': (asked) => this.#next(() => this.#revoke(asked)),
    'accept-join': (asked) => this.#next(() => this.#accept(asked)),
  };
  readonly #node: HostNode;
  readonly #ledger: Ledger;
  readonly #timer: NodeJS.Timeout;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(node: HostNode, ledger: Ledger) {
    this.#node = node;
    this.#ledger = ledger;
    this.#timer = setInterval(() => void this.#next(() => this.#expire()).catch(() => {}), EXPIRE_MS).unref();
  }

  /** Takes up the invites of an earlier run. */
  static async start(node: HostNode): Promise<Invitations> {
    const file = join(stateDirectory(), `${node.config.interface.name}.invites.json`);
    const ledger = Ledger.open(file, (content) => replaceFile(file, content), node.log);
    const invitations = new Invitations(node, ledger);
    for (const entry of ledger.entries) {
      const joined = node.config.peers.find(({ name }) => name === entry.name);
      if (entry.state === 'open' && joined !== undefined)
        await ledger.set(entry, { state: 'used', usedBy: renderPublicKey(joined.publicKey) });
    }
    await invitations.#expire();
    await invitations.#set(ledger.entries, false);
    return invitations;
  }

  /** Whether a peer of the device is the one-time key of an invite. */
  hasKey(publicKey: Uint8Array): boolean {
    if (this.#ledger.entries.length === 0) return false; // it is asked of each of thousands
    return this.#ledger.withKey(renderPublicKey(publicKey)) !== undefined;
  }

  /** What a peer asks that only somebody with an invite may. */
  redeem(peer: ModelPeer, question: Question & { readonly type: 'redeem' }): Promise<Answer | null> {
    return this.#next(() => this.#redeem(peer, question));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #next<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return await done;
  }

  #list(): InviteState[] {
    const over = Date.now() / 1000;
    return this.#ledger.entries.map(({ name, state, addresses, profile, expiresSeconds }) => ({
      name,
      state: state === 'open' && expiresSeconds <= over ? 'expired' : state,
      addresses,
      profile,
      expiresSeconds,
    }));
  }

  async #invite(asked: NodeRequest): Promise<InviteAnswer> {
    await this.#expire();
    const { config, device } = this.#node;
    const { name, kind, publicKey, seconds, profile, endpoints } = parseInviteRequest(asked);
    const written = loadConfig(config.file);
    this.#refuseTaken(name, config, written);
    if (profile !== null) refuseProfile(profile, config, written);
    if (
      publicKey !== null &&
      (device.peer(publicKey) !== undefined || isSame(publicKey, config.interface.publicKey))
    )
      throw new NodeError('ERR_NODE_REQUEST', 'this key is that of a peer already');
    const promised = this.#ledger.entries.filter(({ state }) => state === 'open');
    const addresses = freeAddresses(
      config,
      promised.flatMap((entry) => entry.addresses).flatMap((text) => addressOf(text)),
    );
    const listening = await device.status();
    const createdSeconds = Math.floor(Date.now() / 1000);
    const presharedKeyFile = makePresharedKey(config, name);
    try {
      if (kind === 'wg')
        await this.#admit(
          { name, addresses: addresses.map(renderInterface), profile },
          publicKey ?? new Uint8Array(),
        );
      else {
        const entry: LedgerEntry = {
          name,
          state: 'open',
          publicKey: publicKey && renderPublicKey(publicKey),
          addresses: addresses.map(renderInterface),
          profile,
          createdSeconds,
          expiresSeconds: createdSeconds + seconds,
          usedBy: null,
        };
        await this.#ledger.add(entry);
        await this.#set([entry], false);
      }
    } catch (error) {
      rmSync(presharedKeyFile, { force: true });
      throw error;
    }
    this.#node.log.info(kind === 'wg' ? `${name} was added` : `${name} is invited`);
    return {
      name,
      createdSeconds,
      expiresSeconds: createdSeconds + seconds,
      addresses: addresses.map(renderInterface),
      profile,
      profiles: profilesOf(config),
      node: {
        name: ownName(),
        publicKey: renderPublicKey(listening.publicKey ?? config.interface.publicKey),
        addresses: config.interface.addresses.map(renderInterface),
        endpoints: (endpoints ?? (await ownEndpoints(config.interface.name, listening.listenPort))).map(
          renderEndpoint,
        ),
        mtu: listening.mtu,
      },
      presharedKeyFile,
    };
  }

  /** What the file says now counts as well, though the node may not have read it yet. */
  #refuseTaken(name: string, config: NodeConfig, written: NodeConfig): void {
    const known = [...config.peers, ...written.peers].some((peer) => peer.name === name);
    if (known)
      throw new NodeError('ERR_JOIN_NAME', `there is a peer ${name} already`, {
        hint: 'choose another name',
      });
    if (this.#ledger.open(name) === undefined) return;
    throw new NodeError('ERR_JOIN_NAME', `${name} is invited already`, {
      hint: `take that invite back first: ringfence invite --revoke ${name}`,
    });
  }

  async #revoke({ name }: NodeRequest): Promise<InviteState> {
    const entry = this.#ledger.open(String(name));
    if (entry === undefined)
      throw new NodeError('ERR_JOIN_NAME', `no invite of ${JSON.stringify(name)} is open`);
    const revoked = await this.#ledger.set(entry, { state: 'revoked' });
    this.#dropPresharedKey(entry);
    this.#node.log.info(`the invite of ${entry.name} is revoked`);
    return revoked;
  }

  /** A request that was carried by hand. */
  async #accept(asked: NodeRequest): Promise<InviteState> {
    await this.#expire();
    const name = String(asked['name']);
    const publicKey = decodeKey(Buffer.from(String(asked['publicKey'])));
    if (publicKey === null) throw new NodeError('ERR_NODE_REQUEST', 'there is no public key in this request');
    const entry = this.#ledger.entries.findLast((one) => one.name === name);
    if (entry === undefined)
      throw new NodeError('ERR_JOIN_NAME', `nobody was invited as ${JSON.stringify(name)}`);
    const reason = this.#refusal(entry, publicKey);
    if (reason === 'done') return entry;
    if (reason !== null) throw refusedByHand(reason, name);
    const key = readKeyFile(presharedKeyPath(this.#node.config, name));
    if (!key.ok)
      throw new NodeError('ERR_JOIN_FILE', `the preshared key of ${name}: ${key.problem}`, {
        hint: key.hint,
      });
    const isSealed = isSealedWith({ name, publicKey, seal: String(asked['seal']) }, key.key);
    wipe(key.key);
    if (!isSealed) {
      throw new NodeError(
        'ERR_JOIN_FILE',
        `this request of ${name} was not made with its invite, or was changed`,
        {
          hint: 'have it made again: ringfence join FILE --offline',
        },
      );
    }
    return await this.#joined(entry, publicKey);
  }

  async #redeem(
    peer: ModelPeer,
    { publicKey, clockMs }: Question & { readonly type: 'redeem' },
  ): Promise<Answer | null> {
    const entry = this.#ledger.withKey(renderPublicKey(peer.publicKey));
    if (entry === undefined) return null;
    const refuse = (reason: Refusal): Answer => ({ type: 'refused', reason, clockMs: Date.now() });
    const reason = this.#refusal(entry, publicKey);
    if (reason === 'done') return { type: 'done' };
    if (reason !== null) return refuse(reason);
    if (Math.abs(clockMs - Date.now()) > MOST_CLOCK_DIFFERENCE_MS) return refuse('clock');
    try {
      await this.#joined(entry, publicKey);
      return { type: 'done' };
    } catch (error) {
      this.#node.log.error(`${entry.name} cannot join: ${messageOf(error)}`);
      return refuse('failed');
    }
  }

  /** Why an invite is no good for a key; `done` if that key has joined with it before. */
  #refusal(entry: LedgerEntry, publicKey: Uint8Array): Refusal | 'done' | null {
    const { config, device } = this.#node;
    if (entry.state === 'used') return entry.usedBy === renderPublicKey(publicKey) ? 'done' : 'used';
    if (entry.state !== 'open') return entry.state;
    if (Date.now() / 1000 >= entry.expiresSeconds) return 'expired';
    if (config.peers.some(({ name }) => name === entry.name)) return 'name';
    const isTaken = device.peer(publicKey) !== undefined || isSame(publicKey, config.interface.publicKey);
    return isTaken || publicKey.every((byte) => byte === 0) ? 'key' : null;
  }

  async #joined(entry: LedgerEntry, publicKey: Uint8Array): Promise<LedgerEntry> {
    const { config } = this.#node;
    // It may be gone since the invite was made.
    if (entry.profile !== null) refuseProfile(entry.profile, config, loadConfig(config.file));
    await this.#admit(entry, publicKey);
    this.#node.log.info(`${entry.name} has joined`);
    return await this.#ledger.set(entry, { state: 'used', usedBy: renderPublicKey(publicKey) });
  }

  /** The user's file first: what is in it counts, also after a crash. */
  async #admit(
    { name, addresses, profile }: Pick<LedgerEntry, 'name' | 'addresses' | 'profile'>,
    publicKey: Uint8Array,
  ): Promise<void> {
    const { config, device } = this.#node;
    const key = readKeyFile(presharedKeyPath(config, name));
    if (!key.ok)
      throw new NodeError('ERR_JOIN_FILE', `the preshared key of ${name}: ${key.problem}`, {
        hint: key.hint,
      });
    try {
      const hosts = addresses.flatMap((text) => addressOf(text));
      const allowedIps = hosts.map(
        (address) => ({ type: 'add', prefix: packPrefix(hostPrefix(address)) }) as const,
      );
      await this.#node.exclusively(async () => {
        const written = await writePeer(config, name, {
          public_key: renderPublicKey(publicKey),
          preshared_key_file: `${name}.psk`,
          addresses: hosts.map(renderIp),
          ...(profile === null ? {} : { profile }),
        });
        await device.set({ peers: [{ publicKey, presharedKey: key.key, keepaliveSeconds: 0, allowedIps }] });
        await this.#node.adopt(withPeer(this.#node.config, written, name));
      });
    } finally {
      wipe(key.key);
    }
  }

  async #expire(): Promise<void> {
    const { expired, forgotten } = await this.#ledger.expire(Date.now() / 1000);
    for (const entry of expired) {
      this.#dropPresharedKey(entry);
      this.#node.log.info(`the invite of ${entry.name} has expired`);
    }
    await this.#set(forgotten, true);
  }

  /** Gives the device the one-time keys of entries, or takes them away. */
  async #set(entries: readonly LedgerEntry[], remove: boolean): Promise<void> {
    const keys = entries.flatMap(({ publicKey }) => decodeKey(Buffer.from(publicKey ?? '')) ?? []);
    if (keys.length === 0) return;
    await this.#node.device.set({ peers: keys.map((publicKey) => ({ publicKey, remove, allowedIps: [] })) });
  }

  #dropPresharedKey({ name }: LedgerEntry): void {
    const file = presharedKeyPath(this.#node.config, name);
    const isUsed = this.#node.config.peers.some((peer) => peer.presharedKeyFile === file);
    if (!isUsed) rmSync(file, { force: true });
  }
}

function makePresharedKey(config: NodeConfig, name: string): string {
  const file = presharedKeyPath(config, name);
  const key = generatePresharedKey();
  try {
    writeKeyFile(file, key);
    return file;
  } catch (error) {
    const isThere = codeOf(error) === 'EEXIST' && existsSync(file);
    const message = isThere ? `${file} exists already` : `cannot write ${file}: ${messageOf(error)}`;
    throw new NodeError(isThere ? 'ERR_FILE_EXISTS' : 'ERR_FILE_WRITE', message, {
      hint: isThere ? 'move it away, or choose another name' : undefined,
    });
  } finally {
    wipe(key);
  }
}

function presharedKeyPath(config: NodeConfig, name: string): string {
  return resolve(dirname(config.file), `${name}.psk`);
}

/** Of an address with its prefix length; nothing where it is none. */
function addressOf(text: string) {
  const parsed = parseInterface(text);
  return parsed.ok ? [parsed.value.address] : [];
}

/** What joining nodes call this one. */
function ownName(): string {
  const name = hostname().split('.')[0] ?? '';
  return parseValue(peerNameSchema, name).ok ? name : 'host';
}

function refusedByHand(reason: Refusal, name: string): NodeError {
  switch (reason) {
    case 'used':
      return new NodeError('ERR_JOIN_USED', `the invite of ${name} was used by another node`);
    case 'expired':
      return new NodeError('ERR_JOIN_EXPIRED', `the invite of ${name} has expired`);
    case 'revoked':
      return new NodeError('ERR_JOIN_REVOKED', `the invite of ${name} was revoked`);
    case 'name':
      return new NodeError('ERR_JOIN_NAME', `there is a peer ${name} already`);
    default:
      return new NodeError(
        'ERR_JOIN_REFUSED',
        `${name} cannot join with this key: a peer has it, or this node`,
      );
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return renderPublicKey(a) === renderPublicKey(b);
}
