// `ringfence run FILE`: the node in the foreground, until SIGTERM or SIGINT; SIGHUP reloads its file.

import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { environmentOffloads, OFFLOAD_KEYS } from '../config/offloads.ts';
import { loadSecrets } from '../config/secrets.ts';
import { runDirectory } from '../control/node-socket.ts';
import { messageOf } from '../errors.ts';
import { Node } from '../node/node.ts';
import { announceReady } from './announce.ts';
import { keepMemoryOutOfCoreDumps } from './core-dumps.ts';
import { addLogOptions, isLevelGiven, type LogCommandOptions, logOf } from './log-options.ts';
import { becomeUser } from './other-user.ts';
import { ServiceManager } from './service.ts';
import { stopSignal } from './stop-signal.ts';
import { VERSION } from './version.ts';

export function registerRun(program: Command): void {
  addLogOptions(program.command('run'))
    .summary('run a node in the foreground')
    .description(
      'Runs the node that FILE describes until SIGTERM or SIGINT. What it made goes with it. SIGHUP reloads FILE.',
    )
    .argument('<file>', "the node's configuration, such as ringfence.yaml")
    .option(
      '--user <name>',
      'as root: become this user, who has the right to administer the network and no other; files and keys must be theirs',
    )
    .addHelpText(
      'after',
      `
RINGFENCE_OFFLOADS switches offloads, over what FILE says: all, none, or names with a sign, in turn and with commas
between them, as in none,+tun-tcp or -udp-gso. The names are ${Object.values(OFFLOAD_KEYS).join(', ')}.`,
    )
    .action(run);
}

interface RunOptions extends LogCommandOptions {
  readonly user?: string;
}

async function run(file: string, options: RunOptions): Promise<void> {
  if (options.user !== undefined) {
    loadConfig(file); // what is wrong with it is said before anything becomes another user's
    becomeUser(options.user);
  }
  keepMemoryOutOfCoreDumps();
  const offloads = environmentOffloads();
  const stopped = stopSignal();
  const hangups = new Hangups();
  const config = loadConfig(file);
  const log = logOf(options, config.logging.level);
  log.debug(`starting ${config.interface.name}`, { file, version: VERSION });
  const node = await Node.start({
    config,
    secrets: loadSecrets(config),
    log,
    runDirectory: runDirectory(),
    version: VERSION,
    offloads,
    isLogLevelFixed: isLevelGiven(options),
  });
  const service = new ServiceManager(log);
  hangups.handle(async () => {
    service.reloading();
    try {
      await node.reload();
    } catch (error) {
      log.error(`not reloaded, nothing was changed: ${messageOf(error)}`);
    }
    service.ready(await summaryOf(node));
  });
  const summary = await summaryOf(node);
  log.info(`${config.interface.name} is ready: ${summary}`);
  service.ready(summary);
  announceReady();

  const end = await Promise.race([stopped, node.failed]);
  if (typeof end === 'string') log.info(`${end}: stopping`);
  service.stopping();
  await node.stop();
  if (typeof end !== 'string') throw end;
  log.info(`${config.interface.name} is down`);
}

async function summaryOf(node: Node): Promise<string> {
  const { interface: own, peers } = await node.status();
  const count = peers.length === 1 ? '1 peer' : `${peers.length} peers`;
  return `UDP port ${own.listenPort}, MTU ${own.mtu}, ${count}`;
}

/** SIGHUP: from the start on, for it would end the process; one reload at a time, and one more if it came meanwhile. */
class Hangups {
  #isAsked = false;
  #reload: (() => Promise<void>) | undefined;
  #isReloading = false;

  constructor() {
    process.on('SIGHUP', () => {
      this.#isAsked = true;
      void this.#work();
    });
  }

  /** What has come until now is handled at once. */
  handle(reload: () => Promise<void>): void {
    this.#reload = reload;
    void this.#work();
  }

  async #work(): Promise<void> {
    if (this.#reload === undefined || this.#isReloading) return;
    this.#isReloading = true;
    while (this.#isAsked) {
      this.#isAsked = false;
      await this.#reload();
    }
    this.#isReloading = false;
  }
}
