// The ground of test/attack/: the attacker on the left, a peer of the node on the right; the node is ours, or wireguard-go,
// by which the attacker itself is proven.
//
//   attacker 192.0.2.10 ─── internet ─── 198.51.100.10:51820 node
//   10.9.0.1, fd09::1    ═══ tunnel ═══  10.9.0.2, fd09::2

import { join } from 'node:path';
import { generateKeyPair, generatePresharedKey } from '../keys.ts';
import { NodeProcess, OVERLAY, type PeerFile, Scratch, writeNode } from '../node-process.ts';
import { type Routed, routed } from '../topology.ts';
import { endpoint } from '../traffic.ts';
import { WireguardGo } from '../wireguard-go.ts';
import { Attacker } from './attacker.ts';
import { rawKeyPair } from './noise.ts';

export const ATTACKER_PORT = 51_821;

export type AttackOptions = {
  readonly underlay?: 'v4' | 'v6';
  readonly presharedKey?: boolean;
  /** The node knows where the attacker is, and can begin. */
  readonly isKnown?: boolean;
  readonly keepalive?: number;
  /** More peers of the node, by name. */
  readonly peers?: Readonly<Record<string, PeerFile>>;
  /** More networks of the attacker. */
  readonly routes?: readonly string[];
  /** Of the attacked host, and so of its interface: all of a run share one /run, so tests that overlap need different ones. */
  readonly name?: string;
  /** Of the node's process. */
  readonly env?: Readonly<Record<string, string>>;
};

export type Attack<Node> = AsyncDisposable & {
  readonly net: Routed;
  readonly node: Node;
  readonly attacker: Attacker;
};

/** Writes what both kinds of node need to know of the attacker, and opens its socket. */
async function prepare(options: AttackOptions) {
  await using undo = new AsyncDisposableStack();
  const scratch = undo.use(await Scratch.create());
  const net = undo.use(await routed(1500, { left: 'attacker', right: options.name ?? 'node' }));
  const { underlay = 'v4' } = options;
  const keys = { node: generateKeyPair(), attacker: generateKeyPair() };
  const presharedKey = options.presharedKey === true ? generatePresharedKey() : undefined;
  const attacker = undo.use(
    await Attacker.start(net.left, {
      keys: rawKeyPair(Buffer.from(keys.attacker.privateKey, 'base64')),
      target: {
        address: net.right[underlay],
        port: 51820,
        publicKey: Buffer.from(keys.node.publicKey, 'base64'),
      },
      ...(presharedKey === undefined ? {} : { presharedKey: Buffer.from(presharedKey, 'base64') }),
      listenPort: ATTACKER_PORT,
      inside: { own: OVERLAY.left, target: OVERLAY.right },
    }),
  );
  const known = options.isKnown === true ? endpoint(net.left[underlay], ATTACKER_PORT) : undefined;
  const owned = undo.move();
  return { owned, scratch, net, keys, presharedKey, attacker, known };
}

/** The attacker against a node of ours. */
export async function attackRingfence(options: AttackOptions = {}): Promise<Attack<NodeProcess>> {
  const { owned, scratch, net, keys, presharedKey, attacker, known } = await prepare(options);
  await using undo = owned;
  const files = await writeNode(
    join(scratch.path, 'node'),
    keys.node,
    {
      interface: {
        name: `rf-${net.right.name}`,
        private_key_file: 'node.key',
        addresses: OVERLAY.right.addresses,
        listen_port: 51820,
        mtu: 1420,
      },
      peers: {
        attacker: {
          public_key: keys.attacker.publicKey,
          addresses: [OVERLAY.left.v4, OVERLAY.left.v6],
          ...(presharedKey === undefined ? {} : { preshared_key_file: 'peer.psk' }),
          ...(options.routes === undefined ? {} : { routes: options.routes }),
          ...(known === undefined ? {} : { endpoints: [known] }),
          ...(options.keepalive === undefined ? {} : { keepalive: options.keepalive }),
        },
        ...options.peers,
      },
    },
    presharedKey === undefined ? {} : { 'peer.psk': presharedKey },
  );
  const node = undo.use(
    await NodeProcess.start(net.right, files, { ...(options.env === undefined ? {} : { env: options.env }) }),
  );
  const all = undo.move();
  return { net, node, attacker, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** The attacker against wireguard-go. */
export async function attackWireguardGo(options: AttackOptions = {}): Promise<Attack<WireguardGo>> {
  const { owned, net, keys, presharedKey, attacker, known } = await prepare(options);
  await using undo = owned;
  const node = undo.use(
    await WireguardGo.start(net.right, {
      device: `wg-${net.right.name}`,
      privateKey: keys.node.privateKey,
      listenPort: 51820,
      addresses: OVERLAY.right.addresses,
      peers: [
        {
          publicKey: keys.attacker.publicKey,
          ...(presharedKey === undefined ? {} : { presharedKey }),
          ...(known === undefined ? {} : { endpoint: known }),
          ...(options.keepalive === undefined ? {} : { keepaliveSeconds: options.keepalive }),
          allowedIps: [`${OVERLAY.left.v4}/32`, `${OVERLAY.left.v6}/128`],
        },
      ],
    }),
  );
  const all = undo.move();
  return { net, node, attacker, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
