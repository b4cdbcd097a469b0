// `up` and `down` of a wg-quick file: the steps of wg-quick(8), in its order, without it. What was done is undone in
// reverse when a later step fails. No state is kept beside the host's own: either program takes down what the other
// brought up.

import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { IpAddress } from '../../address/ip.ts';
import { renderInterface } from '../../address/prefix.ts';
import type { HookName, QuickConfig } from '../../config/wg-quick.ts';
import { codeOf, NodeError } from '../../errors.ts';
import { wayMtu } from '../interface.ts';
import { configureDevice, type DeviceState, readDevice, wipeState } from './device.ts';
import { setDns, unsetDns } from './dns.ts';
import { type Host, tolerate } from './host.ts';
import { resolutionAttempts, resolveEndpoints } from './resolve.ts';
import { addRoutes, removeDefaultRoutes, removeGuards } from './routes.ts';
import { saveConfig } from './save.ts';

export interface UpOptions {
  readonly host: Host;
  readonly environment: NodeJS.ProcessEnv;
  /** Starts the device in the background; settles when its interface and socket exist. */
  readonly startDevice: (interfaceName: string) => Promise<void>;
}

/**
 * Brings the interface of `config` up. Its keys are still held when this settles: the caller wipes them.
 * @throws NodeError, ConfigError; the host is then as it was before
 */
export async function quickUp(config: QuickConfig, options: UpOptions): Promise<void> {
  const { host, environment, startDevice } = options;
  const { name } = config;
  warnOfReaders(host, config.file);
  if ((await host.read('ip', ['link', 'show', 'dev', name])) !== '') {
    throw new NodeError('ERR_NODE_INTERFACE', `an interface ${name} exists already`, {
      hint: `take it down with \`ringfence down ${name}\`, or remove it: ip link del ${name}`,
    });
  }
  const endpoints = await resolveEndpoints(config, resolutionAttempts(environment), (line) =>
    host.say(`[!] ${line}`),
  );
  await runHooks(host, config, 'PreUp');
  await using undo = new AsyncDisposableStack();
  await startDevice(name);
  undo.defer(() => removeInterface(host, config));
  await configureDevice(config, endpoints);
  for (const address of config.addresses) {
    await host.run('ip', [
      `-${address.address.version}`,
      'address',
      'add',
      renderInterface(address),
      'dev',
      name,
    ]);
  }
  const known = endpoints.filter((endpoint) => endpoint !== null).map(({ address }) => address);
  await host.run('ip', ['link', 'set', 'mtu', String(await mtuOf(config, known)), 'up', 'dev', name]);
  await setDns(host, config);
  await addRoutes(host, config);
  await runHooks(host, config, 'PostUp');
  undo.move();
}

/**
 * Takes the interface of `config` down, whoever brought it up.
 * @throws NodeError `ERR_NODE_NOT_RUNNING` when it is no WireGuard interface; a failing PreDown or save leaves it up
 */
export async function quickDown(config: QuickConfig, host: Host): Promise<void> {
  wipeState(await readDevice(config.name));
  await runHooks(host, config, 'PreDown');
  if (config.saveConfig) await saveConfig(host, config);
  await removeInterface(host, config);
  await runHooks(host, config, 'PostDown');
}

async function removeInterface(host: Host, config: QuickConfig): Promise<void> {
  await unsetDns(host, config);
  await removeGuards(host, config.name);
  await removeDefaultRoutes(host, config, await markOf(config));
  await tolerate(host, host.run('ip', ['link', 'delete', 'dev', config.name]));
}

/** The mark in use, which a default route may have chosen; the file's where the device no longer answers. */
async function markOf({ name, fwmark }: QuickConfig): Promise<number> {
  let state: DeviceState;
  try {
    state = await readDevice(name);
  } catch (error) {
    if (codeOf(error) !== 'ERR_NODE_NOT_RUNNING') throw error;
    return fwmark;
  }
  wipeState(state);
  return state.fwmark;
}

async function mtuOf(config: QuickConfig, endpoints: readonly IpAddress[]): Promise<number> {
  return config.mtu ?? (await wayMtu(endpoints));
}

async function runHooks(host: Host, config: QuickConfig, name: HookName): Promise<void> {
  for (const line of config.hooks[name]) await host.hook(line.replaceAll('%i', config.name));
}

/** The file holds a private key. As wg-quick does, this only warns: the file may be protected by its folder. */
function warnOfReaders(host: Host, file: string): void {
  const others = 0o007;
  if ((statSync(file).mode & statSync(dirname(file)).mode & others) !== 0) {
    host.say(`[!] ${file} can be read by everyone: chmod 600 ${file}`);
  }
}
