// A running WireGuard device as wg-quick's steps need it: configured and asked over its UAPI socket, whoever serves it.

import { renderIp } from '../../address/ip.ts';
import { renderPrefix } from '../../address/prefix.ts';
import { decodeHex, encodeHex, wipe } from '../../config/key.ts';
import type { QuickConfig } from '../../config/wg-quick.ts';
import { askDevice } from '../../control/uapi/client.ts';
import type { ResolvedEndpoint } from '../endpoints.ts';

/** What a device says of itself. Whoever asked wipes the keys by {@link wipeState}. */
export interface DeviceState {
  readonly privateKey: Uint8Array | null;
  readonly listenPort: number;
  readonly fwmark: number;
  readonly peers: readonly {
    readonly publicKey: Uint8Array;
    readonly presharedKey: Uint8Array | null;
    readonly endpoint: string | null;
    readonly keepaliveSeconds: number;
    readonly allowedIps: readonly string[];
  }[];
}

/** Gives a device all that the file says of keys, port, mark and peers; endpoints stand at the index of their peer. */
export async function configureDevice(
  config: QuickConfig,
  endpoints: readonly (ResolvedEndpoint | null)[],
): Promise<void> {
  const request = new Request();
  if (config.privateKey !== null) request.key('private_key', config.privateKey);
  if (config.listenPort !== null) request.line('listen_port', config.listenPort);
  request.line('fwmark', config.fwmark);
  request.line('replace_peers', 'true');
  for (const [index, peer] of config.peers.entries()) {
    request.key('public_key', peer.publicKey);
    if (peer.presharedKey !== null) request.key('preshared_key', peer.presharedKey);
    const endpoint = endpoints[index];
    if (endpoint) request.line('endpoint', renderResolved(endpoint));
    request.line('persistent_keepalive_interval', peer.keepaliveSeconds);
    request.line('replace_allowed_ips', 'true');
    for (const prefix of peer.allowedIps) request.line('allowed_ip', renderPrefix(prefix));
  }
  await request.send(config.name);
}

export async function setMark(name: string, mark: number): Promise<void> {
  const request = new Request();
  request.line('fwmark', mark);
  await request.send(name);
}

/** @throws NodeError `ERR_NODE_NOT_RUNNING` when no device answers for this interface */
export async function readDevice(name: string): Promise<DeviceState> {
  const answer = await askDevice(name, Buffer.from('get=1\n\n'));
  try {
    return parseState(answer);
  } finally {
    wipe(answer);
  }
}

export function wipeState({ privateKey, peers }: DeviceState): void {
  wipe(...[privateKey, ...peers.map(({ presharedKey }) => presharedKey)].filter((key) => key !== null));
}

/** A `set=1` as bytes, wiped when it has been sent. */
class Request {
  readonly #parts: Uint8Array[] = [Buffer.from('set=1\n')];

  line(key: string, value: string | number): void {
    this.#parts.push(Buffer.from(`${key}=${value}\n`));
  }

  key(name: string, key: Uint8Array): void {
    this.#parts.push(Buffer.from(`${name}=`), encodeHex(key), Buffer.from('\n'));
  }

  async send(interfaceName: string): Promise<void> {
    const bytes = Buffer.concat([...this.#parts, Buffer.from('\n')]);
    wipe(...this.#parts);
    try {
      await askDevice(interfaceName, bytes);
    } finally {
      wipe(bytes);
    }
  }
}

function renderResolved({ address, port, scope }: ResolvedEndpoint): string {
  if (address.version === 4) return `${renderIp(address)}:${port}`;
  return `[${renderIp(address)}${scope === 0 ? '' : `%${scope}`}]:${port}`;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
interface PeerDraft extends Omit<Mutable<DeviceState['peers'][number]>, 'allowedIps'> {
  readonly allowedIps: string[];
}
interface StateDraft extends Omit<Mutable<DeviceState>, 'peers'> {
  readonly peers: PeerDraft[];
}

function parseState(answer: Uint8Array): DeviceState {
  const state: StateDraft = { privateKey: null, listenPort: 0, fwmark: 0, peers: [] };
  for (const [key, value] of pairsOf(answer)) {
    const peer = state.peers.at(-1);
    const text = (): string => Buffer.from(value).toString('latin1');
    switch (key) {
      case 'private_key':
        state.privateKey = secretOf(value);
        break;
      case 'listen_port':
        state.listenPort = Number(text());
        break;
      case 'fwmark':
        state.fwmark = Number(text());
        break;
      case 'public_key':
        state.peers.push({
          publicKey: decodeHex(value) ?? new Uint8Array(32),
          presharedKey: null,
          endpoint: null,
          keepaliveSeconds: 0,
          allowedIps: [],
        });
        break;
      case 'preshared_key':
        if (peer !== undefined) peer.presharedKey = secretOf(value);
        break;
      case 'endpoint':
        if (peer !== undefined) peer.endpoint = text();
        break;
      case 'persistent_keepalive_interval':
        if (peer !== undefined) peer.keepaliveSeconds = Number(text());
        break;
      case 'allowed_ip':
        peer?.allowedIps.push(text());
        break;
      default: // times, counts, and what other implementations add
    }
  }
  return state;
}

/** A key that is all zeros stands for none. */
function secretOf(hex: Uint8Array): Uint8Array | null {
  const key = decodeHex(hex);
  return key?.some((byte) => byte !== 0) === true ? key : null;
}

function* pairsOf(answer: Uint8Array): Generator<readonly [key: string, value: Uint8Array]> {
  for (let begin = 0; begin < answer.length; ) {
    const newline = answer.indexOf(0x0a, begin);
    const end = newline === -1 ? answer.length : newline;
    const line = answer.subarray(begin, end);
    const equals = line.indexOf(0x3d);
    if (equals > 0)
      yield [Buffer.from(line.subarray(0, equals)).toString('latin1'), line.subarray(equals + 1)];
    begin = end + 1;
  }
}
