// `SaveConfig`: what runs is written over the file it was started from, whole or not at all. Keys go as bytes.

import { renderIp } from '../../address/ip.ts';
import { encodeKey, wipe } from '../../config/key.ts';
import { HOOK_NAMES, type QuickConfig } from '../../config/wg-quick.ts';
import { messageOf, RingfenceError } from '../../errors.ts';
import { replaceFile } from '../replace-file.ts';
import { type DeviceState, readDevice, wipeState } from './device.ts';
import type { Host } from './host.ts';

interface LinkAddresses {
  readonly mtu?: number;
  readonly addr_info?: readonly {
    readonly local?: string;
    readonly prefixlen?: number;
    readonly scope?: string;
  }[];
}

/** @throws RingfenceError `ERR_FILE_WRITE`; the file is then as it was */
export async function saveConfig(host: Host, config: QuickConfig): Promise<void> {
  const state = await readDevice(config.name);
  const json = await host.read('ip', ['-json', 'address', 'show', 'dev', config.name]);
  const [link] = JSON.parse(json || '[]') as LinkAddresses[];
  const text = renderSaved(config, state, link);
  wipeState(state);
  try {
    await replaceFile(config.file, text);
  } catch (error) {
    throw new RingfenceError('ERR_FILE_WRITE', `${config.file} could not be saved: ${messageOf(error)}`, {
      hint: 'the file is as it was',
      cause: error,
    });
  } finally {
    wipe(text);
  }
}

/** What the interface has now, less what the kernel gave it by itself. */
function addressesOf(link: LinkAddresses | undefined): string[] {
  const own = (link?.addr_info ?? []).filter(({ scope }) => scope !== 'link');
  return own.map(({ local = '', prefixlen = 0 }) => `${local}/${prefixlen}`);
}

function renderSaved(config: QuickConfig, state: DeviceState, link: LinkAddresses | undefined): Uint8Array {
  const { dns, table, hooks } = config;
  const parts: Uint8Array[] = [];
  const line = (key: string, value: string | number): void =>
    void parts.push(Buffer.from(`${key} = ${value}\n`));
  // `encodeKey` ends with a line end of its own.
  const key = (name: string, bytes: Uint8Array): void =>
    void parts.push(Buffer.from(`${name} = `), encodeKey(bytes));

  parts.push(Buffer.from('[Interface]\n'));
  for (const address of addressesOf(link)) line('Address', address);
  for (const server of [...dns.servers.map(renderIp), ...dns.search]) line('DNS', server);
  if (config.mtu !== null) line('MTU', link?.mtu ?? config.mtu);
  if (table !== 'auto') line('Table', table === 'off' ? table : table.name);
  line('SaveConfig', 'true');
  for (const name of HOOK_NAMES) for (const hook of hooks[name]) line(name, hook);
  line('ListenPort', state.listenPort);
  // A mark that a default route chose is chosen again at the next start.
  if (config.fwmark !== 0) line('FwMark', `0x${state.fwmark.toString(16)}`);
  if (state.privateKey !== null) key('PrivateKey', state.privateKey);

  for (const peer of state.peers) {
    parts.push(Buffer.from('\n[Peer]\n'));
    key('PublicKey', peer.publicKey);
    if (peer.presharedKey !== null) key('PresharedKey', peer.presharedKey);
    if (peer.allowedIps.length > 0) line('AllowedIPs', peer.allowedIps.join(', '));
    if (peer.endpoint !== null) line('Endpoint', peer.endpoint);
    if (peer.keepaliveSeconds > 0) line('PersistentKeepalive', peer.keepaliveSeconds);
  }
  const text = Buffer.concat(parts);
  wipe(...parts);
  return text;
}
