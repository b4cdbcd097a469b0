// The resolver of a wg-quick file, through resolvconf(8).

import { readFileSync } from 'node:fs';
import { renderIp } from '../../address/ip.ts';
import type { QuickConfig } from '../../config/wg-quick.ts';
import { codeOf } from '../../errors.ts';
import { type Host, tolerate } from './host.ts';

/** Debian's resolvconf sorts by it, and knows tunnels by a prefix such as `tun.`. */
const INTERFACE_ORDER = '/etc/resolvconf/interface-order';

/** Makes the servers the only ones that are asked while the tunnel is up. */
export async function setDns(host: Host, { name, dns }: QuickConfig): Promise<void> {
  if (dns.servers.length === 0) return;
  const lines = [
    ...dns.servers.map((server) => `nameserver ${renderIp(server)}`),
    ...(dns.search.length > 0 ? [`search ${dns.search.join(' ')}`] : []),
  ];
  await host.run('resolvconf', ['-a', recordName(name), '-m', '0', '-x'], `${lines.join('\n')}\n`);
}

export async function unsetDns(host: Host, { name, dns }: QuickConfig): Promise<void> {
  if (dns.servers.length === 0) return;
  await tolerate(host, host.run('resolvconf', ['-d', recordName(name), '-f']));
}

function recordName(interfaceName: string): string {
  let order: string;
  try {
    order = readFileSync(INTERFACE_ORDER, 'utf8');
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    return interfaceName;
  }
  const prefix = /^([A-Za-z0-9-]+)\*$/m.exec(order)?.[1];
  return prefix === undefined ? interfaceName : `${prefix}.${interfaceName}`;
}
