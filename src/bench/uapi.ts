// One end of a tunnel by any program that keeps WireGuard's contract: it is started with the name of an interface, answers on
// /run/wireguard/NAME.sock, and is configured there by `wg`. Keys go by standard input and never as arguments.

import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { within } from './deadline.ts';
import type { EndOptions, Program, RunningEnd } from './implementation.ts';

const SOCKETS = '/run/wireguard';
const START_DEADLINE_MS = 10_000;

/** Resolves when the interface is configured and up. */
export async function startUapi(program: Program, options: EndOptions): Promise<RunningEnd> {
  const { host, device, mtu } = options;
  const configuration = renderSetconf(options);
  await mkdir(SOCKETS, { recursive: true });
  const waiting = new AbortController();
  const answering = answers(join(SOCKETS, `${device}.sock`), waiting.signal);
  const [command = '', ...args] = program.command;
  const beganMs = performance.now();
  const started = host.spawn(command, [...args, device], { env: program.environment });
  try {
    const ended = started.exited.then(() => {
      throw new Error(`${program.name} ended:\n${started.output}`);
    });
    await within(Promise.race([answering, ended]), START_DEADLINE_MS, `the socket of ${program.name}`);
    // `cat` makes a pipe of standard input: Node.js gives a socket, and /dev/stdin cannot be opened as one.
    await host.exec('sh', ['-c', `cat | wg setconf ${device} /dev/stdin`], { input: configuration });
    await host.ipBatch(
      ...options.addresses.map((address) => `address add ${address} dev ${device}`),
      `link set ${device} mtu ${mtu} up`,
    );
  } catch (error) {
    await started[Symbol.asyncDispose]();
    throw error;
  } finally {
    waiting.abort();
  }
  const readyMs = performance.now() - beganMs;
  return {
    pid: started.pid,
    readyMs,
    offloads: async () => [], // the protocol has no word for them
    [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
  };
}

/**
 * Resolves when somebody accepts connections at `path`. A socket that is made but not listened on yet is asked again and
 * again: `wg` would unlink it.
 */
async function answers(path: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !(await accepts(path))) await delay(1);
}

async function accepts(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** A configuration as `wg setconf` reads it. */
function renderSetconf({
  privateKey,
  listenPort,
  peers,
}: Pick<EndOptions, 'privateKey' | 'listenPort' | 'peers'>): string {
  const lines = ['[Interface]', `PrivateKey = ${privateKey}`, `ListenPort = ${listenPort}`];
  for (const { publicKey, endpoint, addresses } of peers) {
    const allowed = addresses.map((address) => `${address}${address.includes(':') ? '/128' : '/32'}`);
    lines.push('[Peer]', `PublicKey = ${publicKey}`, `AllowedIPs = ${allowed.join(', ')}`);
    if (endpoint !== undefined) lines.push(`Endpoint = ${endpoint}`);
  }
  return `${lines.join('\n')}\n`;
}
