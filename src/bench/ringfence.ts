// One end of a tunnel by this very program: `ringfence run FILE`.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { askStatus } from '../control/node-socket.ts';
import type { EndOptions, Program, RunningEnd } from './implementation.ts';

const READY_DEADLINE_MS = 120_000;
/** Of a policy that is measured. */
const PORTS_OF_ROW = 100;

/** Resolves when the node says that it is ready. */
export async function startRingfence(program: Program, options: EndOptions): Promise<RunningEnd> {
  const { host, device, directory } = options;
  const runDirectory = join(directory, 'run');
  const file = await writeFiles(program, options, runDirectory);
  const [command = '', ...args] = program.command;
  const beganMs = performance.now();
  const started = host.spawn(command, [...args, file], {
    env: { ...program.environment, RINGFENCE_RUN_DIR: runDirectory },
  });
  try {
    await started.line(/\bready\b/, READY_DEADLINE_MS);
  } catch (error) {
    await started[Symbol.asyncDispose]();
    throw error;
  }
  const readyMs = performance.now() - beganMs;
  return {
    pid: started.pid,
    readyMs,
    async offloads() {
      const status = await askStatus(runDirectory, device);
      const inEffect = Object.entries(status?.interface.offloads ?? {});
      return inEffect.filter(([, { isActive }]) => isActive).map(([name]) => name);
    },
    [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
  };
}

async function writeFiles(program: Program, options: EndOptions, runDirectory: string): Promise<string> {
  const { policyRules } = program;
  await mkdir(runDirectory, { recursive: true, mode: 0o700 });
  await writeFile(join(options.directory, 'node.key'), `${options.privateKey}\n`, { mode: 0o600 });
  const peers = options.peers.map(({ publicKey, endpoint, addresses }, index) => [
    `peer${index + 1}`,
    {
      public_key: publicKey,
      addresses,
      ...(endpoint === undefined ? {} : { endpoints: [endpoint] }),
      ...(policyRules === undefined ? {} : { allow: grants(policyRules) }),
    },
  ]);
  const file = join(options.directory, 'ringfence.yaml');
  const content = {
    interface: {
      name: options.device,
      private_key_file: 'node.key',
      addresses: options.addresses,
      listen_port: options.listenPort,
      mtu: options.mtu,
    },
    peers: Object.fromEntries(peers),
    ...(policyRules === undefined ? {} : { firewall: { version: 1 } }),
  };
  await writeFile(file, stringify(content));
  return file;
}

/** Rows that make this many rules: of hosts and ports that nobody asks for, a hundred to a row; and one that grants this node. */
function grants(count: number): object[] {
  const others = Array.from({ length: Math.ceil((count - 1) / PORTS_OF_ROW) }, (_, row) => {
    const length = Math.min(PORTS_OF_ROW, count - 1 - row * PORTS_OF_ROW);
    const ports = Array.from({ length }, (_, i) => `tcp/${1 + 2 * i + 200 * (row % 300)}`);
    return { to: `10.${128 + (row >> 8)}.${row & 0xff}.1`, ports };
  });
  return [...others, { to: 'self' }];
}
