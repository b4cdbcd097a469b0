// The tunnel that redeems an invite: a device with the one-time key, whose only peer is the inviting node. No packet passes
// it, and no address is given to its interface: the two nodes only talk.

import { execa } from 'execa';
import type { Endpoint } from '../address/endpoint.ts';
import { wipe } from '../config/key.ts';
import type { Answer } from '../control/talk.ts';
import { NodeError } from '../errors.ts';
import { Descriptors } from '../lane/descriptors.ts';
import type { Log } from '../log.ts';
import { Device } from './device.ts';
import { lookupEndpoint } from './endpoints.ts';
import { Talks } from './talks.ts';

const NO_OFFLOADS = { udpGso: false, udpGro: false, tunTcp: false, tunUdp: false };
const MTU = 1280;
const COMMAND_TIMEOUT_MS = 10_000;

export interface RedeemOptions {
  /** Of the interface that the new node is to have, and whose time of handshakes goes on there; gone when this settles. */
  readonly interfaceName: string;
  /** Wiped by the caller. */
  readonly oneTimeKey: Uint8Array;
  /** Who has made the invite, and where. */
  readonly host: Uint8Array;
  readonly endpoint: Endpoint;
  /** Who wants to join. */
  readonly publicKey: Uint8Array;
  readonly patienceMs: number;
  readonly log: Log;
}

/**
 * Asks the inviting node to take the new one in; null when nobody answers in time.
 * @throws NodeError for what this host refuses; Error when the name of the endpoint does not resolve
 */
export async function redeemThrough(options: RedeemOptions): Promise<Answer | null> {
  const { interfaceName, host, patienceMs, publicKey, log } = options;
  const { address, port } = await lookupEndpoint(options.endpoint);
  await using undo = new AsyncDisposableStack();
  const descriptors = Descriptors.open({ interfaceName, port: 0, offloads: NO_OFFLOADS, mtu: MTU });
  undo.defer(() => descriptors.close());
  const endpoint = { address, zone: null, port };
  let device: Device | undefined;
  const talks = new Talks(
    () => device,
    async () => null, // nobody asks who has not joined yet
  );
  undo.defer(() => talks.stop());
  const privateKey = options.oneTimeKey.slice();
  device = await Device.start({
    descriptors,
    listenPort: 0,
    mtu: MTU,
    change: { privateKey, peers: [{ publicKey: host, endpoint, allowedIps: [] }] },
    log,
    onGone: () => {},
    onHeard: (peer, message) => void talks.hear(peer, message),
  });
  wipe(privateKey);
  undo.defer(() => device?.stop());
  await bringUp(interfaceName);
  return await talks.ask(host, { type: 'redeem', publicKey, clockMs: Date.now() }, patienceMs);
}

/** A device whose interface is down is silent. */
async function bringUp(name: string): Promise<void> {
  const result = await execa('ip', ['link', 'set', 'dev', name, 'up'], {
    timeout: COMMAND_TIMEOUT_MS,
    reject: false,
  });
  if (!result.failed) return;
  const hint =
    result.code === 'ENOENT' ? 'install iproute2, for example: apt-get install iproute2' : undefined;
  throw new NodeError(
    'ERR_NODE_INTERFACE',
    `\`ip link set ${name} up\` failed: ${result.stderr || result.shortMessage}`,
    {
      hint,
    },
  );
}
