// One end of a tunnel by this very program: `ringfence run FILE`.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { askStatus } from '../control/node-socket.ts';
import type { EndOptions, Program, RunningEnd } from './implementation.ts';

const READY_DEADLINE_MS = 120_000;

/** Resolves when the node says that it is ready. */
export async function startRingfence(program: Program, options: EndOptions): Promise<RunningEnd> {
  const { host, device, directory } = options;
  const runDirectory = join(directory, 'run');
  const file = await writeFiles(options, runDirectory);
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

async function writeFiles(options: EndOptions, runDirectory: string): Promise<string> {
  await mkdir(runDirectory, { recursive: true, mode: 0o700 });
  await writeFile(join(options.directory, 'node.key'), `${options.privateKey}\n`, { mode: 0o600 });
  const peers = options.peers.map(({ publicKey, endpoint, addresses }, index) => [
    `peer${index + 1}`,
    { public_key: publicKey, addresses, ...(endpoint === undefined ? {} : { endpoints: [endpoint] }) },
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
  };
  await writeFile(file, stringify(content));
  return file;
}
