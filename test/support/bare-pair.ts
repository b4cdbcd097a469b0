// Two bare interfaces that know each other, configured by `wg` as users do it.

import type { BareInterface } from './bare-interface.ts';
import type { KeyPair } from './keys.ts';
import { OVERLAY } from './node-process.ts';
import type { Host } from './topology.ts';

type End = 'left' | 'right';
type Keys = Readonly<Record<End, KeyPair>>;

/** Gives an interface its key, the other end as its peer, addresses, and brings it up. */
export async function pairOf(
  made: Pick<BareInterface, 'host' | 'name'>,
  own: End,
  keys: Keys,
  options: { readonly listenPort?: number; readonly endpoint?: string; readonly presharedKey?: string } = {},
): Promise<void> {
  const other = own === 'left' ? 'right' : 'left';
  const lines = [
    '[Interface]',
    `PrivateKey = ${keys[own].privateKey}`,
    ...(options.listenPort === undefined ? [] : [`ListenPort = ${options.listenPort}`]),
    '[Peer]',
    `PublicKey = ${keys[other].publicKey}`,
    `AllowedIPs = ${OVERLAY[other].v4}/32, ${OVERLAY[other].v6}/128`,
    ...(options.endpoint === undefined ? [] : [`Endpoint = ${options.endpoint}`]),
    ...(options.presharedKey === undefined ? [] : [`PresharedKey = ${options.presharedKey}`]),
  ];
  await setConfig(made.host, made.name, `${lines.join('\n')}\n`);
  await made.host.ipBatch(
    ...OVERLAY[own].addresses.map((address) => `address add ${address} dev ${made.name}`),
    `link set ${made.name} up`,
  );
}

/** `wg setconf`, with keys by standard input and never as arguments. */
async function setConfig(host: Host, name: string, text: string): Promise<void> {
  // `cat` makes a pipe of standard input: Node.js gives a socket, and /dev/stdin cannot be opened as one.
  await host.exec('sh', ['-c', `cat | wg setconf ${name} /dev/stdin`], { input: text });
}
