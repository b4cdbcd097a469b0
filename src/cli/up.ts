// `ringfence up` and `down`: a node, or the interface of a wg-quick file, in the background.

import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { INTERFACE_NAME } from '../config/interface-name.ts';
import { loadConfig } from '../config/load.ts';
import { loadQuickConfig, type QuickConfig, wipeQuickConfig } from '../config/wg-quick.ts';
import { askStatus, runDirectory } from '../control/node-socket.ts';
import { NodeError } from '../errors.ts';
import { endProcess } from '../node/end-process.ts';
import { Host } from '../node/wg-quick/host.ts';
import { quickDown, quickUp } from '../node/wg-quick/up.ts';
import { startInBackground } from './background.ts';

/** Where a bare name is looked for, as by wg-quick. */
const QUICK_DIRECTORY = '/etc/wireguard';

const TARGET =
  'a YAML file of a node, a wg-quick file such as wg0.conf, or the name of one in /etc/wireguard';

export function registerUp(program: Command): void {
  program
    .command('up')
    .summary('start a node, or the interface of a wg-quick file, in the background')
    .description(
      'Returns when it is up. What a wg-quick file says is done as wg-quick does it, without it and without wg.',
    )
    .argument('<target>', TARGET)
    .action(up);
}

export function registerDown(program: Command): void {
  program
    .command('down')
    .summary('stop what `up` or wg-quick started')
    .description('Returns when it is down and the host is as it was before.')
    .argument('<target>', `${TARGET}; or the interface of a running node`)
    .action(down);
}

async function up(target: string): Promise<void> {
  const file = quickFileOf(target);
  if (file === null) {
    loadConfig(target); // what is wrong with it is said here, with its places
    return await startBackground(['run', target]);
  }
  await withQuickConfig(file, (config) =>
    quickUp(config, {
      host: new Host(say),
      environment: process.env,
      startDevice: async (name) => {
        say(`[#] ringfence ${name}`);
        await startBackground(['--foreground', name]);
      },
    }),
  );
}

async function down(target: string): Promise<void> {
  const quick = quickFileOf(target);
  if (quick !== null && existsSync(quick)) {
    return await withQuickConfig(quick, (config) => quickDown(config, new Host(say)));
  }
  const name = quick !== null && !target.endsWith('.conf') ? target : loadConfig(target).interface.name;
  const status = await askStatus(runDirectory(), name);
  if (status === null) {
    const hint = quick === null ? 'start it with `ringfence up FILE`' : `there is no ${quick} either`;
    throw new NodeError('ERR_NODE_NOT_RUNNING', `no node runs on ${name}`, { hint });
  }
  await endProcess(status.pid);
}

/** The wg-quick file a target stands for; null where it is a node's YAML file. */
function quickFileOf(target: string): string | null {
  if (target.endsWith('.conf')) return target;
  const isName = INTERFACE_NAME.test(target) && !/\.ya?ml$/.test(target) && !existsSync(target);
  return isName ? `${QUICK_DIRECTORY}/${target}.conf` : null;
}

async function withQuickConfig(file: string, work: (config: QuickConfig) => Promise<void>): Promise<void> {
  const config = loadQuickConfig(file);
  try {
    await work(config);
  } finally {
    wipeQuickConfig(config);
  }
}

/** @throws NodeError `ERR_NODE_START`; why has been printed as the program in the background said it */
async function startBackground(args: readonly string[]): Promise<void> {
  const said = await startInBackground(args, { env: {}, keepsOutput: false, descriptors: [] });
  if (said === null) return;
  process.stderr.write(said);
  throw new NodeError('ERR_NODE_START', `\`ringfence ${args.join(' ')}\` did not start in the background`);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
