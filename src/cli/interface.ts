// `ringfence [-f] IFACE`: the contract of a userspace WireGuard, as wg-quick and others call it. Unless it is to stay in
// the foreground, it returns 0 once interface and socket are there, and 1 with the reason if they will not be.

import { writeFileSync } from 'node:fs';
import { INTERFACE_NAME } from '../config/interface-name.ts';
import { environmentOffloads } from '../config/offloads.ts';
import { runDirectory } from '../control/node-socket.ts';
import { RingfenceError, UsageError } from '../errors.ts';
import { createLog, LOG_LEVELS } from '../log.ts';
import { BareInterface } from '../node/bare-interface.ts';
import { announceReady } from './announce.ts';
import { startInBackground } from './background.ts';
import { keepMemoryOutOfCoreDumps } from './core-dumps.ts';
import { FOREGROUND_FLAGS } from './interface-argument.ts';
import { stopSignal } from './stop-signal.ts';
import { VERSION } from './version.ts';

export async function runInterface(args: readonly string[]): Promise<void> {
  const [first = ''] = args;
  const isForeground = FOREGROUND_FLAGS.includes(first) || process.env['WG_PROCESS_FOREGROUND'] === '1';
  const [name, ...rest] = FOREGROUND_FLAGS.includes(first) ? args.slice(1) : args;
  if (name === undefined || rest.length > 0 || !INTERFACE_NAME.test(name)) {
    throw new UsageError(
      'ERR_USAGE',
      'this takes one interface: 1 to 15 letters, digits or any of _ = + . -',
      {
        hint: 'ringfence [-f | --foreground] IFACE',
      },
    );
  }
  if (isForeground) await runInForeground(name);
  else await goToBackground(name);
}

async function runInForeground(name: string): Promise<void> {
  keepMemoryOutOfCoreDumps();
  const stopped = stopSignal();
  const log = createLog({ level: logLevel() });
  const made = await BareInterface.start({
    name,
    log,
    runDirectory: runDirectory(),
    version: VERSION,
    offloads: environmentOffloads(),
    tunDescriptor: descriptorOf('WG_TUN_FD'),
    uapiDescriptor: descriptorOf('WG_UAPI_FD'),
  });
  try {
    const nameFile = process.env['WG_TUN_NAME_FILE'];
    if (nameFile !== undefined) writeFileSync(nameFile, `${made.name}\n`);
    announceReady();
    log.debug(`${made.name} is ready: UAPI listener started`);
    log.debug(`${await Promise.race([stopped, made.ended])}: stopping`);
  } finally {
    await made.stop();
  }
}

/** The descriptors that were passed to us are passed on. Its output ends with ours, unless somebody asked for a log. */
async function goToBackground(name: string): Promise<void> {
  const variables = ['WG_TUN_FD', 'WG_UAPI_FD'].filter((variable) => descriptorOf(variable) !== undefined);
  const passed = Object.fromEntries(variables.map((variable, i) => [variable, String(i + 4)]));
  const said = await startInBackground(['--foreground', name], {
    env: { WG_PROCESS_FOREGROUND: '1', ...passed },
    keepsOutput: process.env['LOG_LEVEL'] !== undefined && logLevel() !== 'silent',
    descriptors: variables.flatMap((variable) => descriptorOf(variable) ?? []),
  });
  if (said === null) return;
  process.stderr.write(said);
  process.exitCode = 1;
}

/** wireguard-go's words and its default. */
function logLevel(): (typeof LOG_LEVELS)[number] {
  const word = process.env['LOG_LEVEL']?.toLowerCase();
  return LOG_LEVELS.find((level) => level === word) ?? 'error';
}

function descriptorOf(variable: string): number | undefined {
  const text = process.env[variable];
  if (text === undefined || text === '') return undefined;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new RingfenceError('ERR_USAGE', `${variable} is "${text}", not the number of a descriptor`);
}
