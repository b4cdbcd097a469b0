// What `--version` says beside the version: which core, which Node.js, and what this system can take in one call.

import { createHash } from 'node:crypto';
import { release } from 'node:os';
import { isSea } from 'node:sea';
import { closeDescriptor, openUdp } from 'node-tuntap2';
import { BORINGTUN_VERSION, readCore } from 'wireguard-wasm';
import { VERSION } from './version.ts';

/** Lines of a report; the first is the one that programs read. */
export function versionText(): string {
  const digest = createHash('sha256').update(readCore()).digest('hex').slice(0, 16);
  return [
    `ringfence v${VERSION}`,
    `core      boringtun ${BORINGTUN_VERSION}, wireguard.wasm ${digest}`,
    `Node.js   ${process.version}, ${isSea() ? 'inside this executable' : process.execPath}`,
    `offloads  ${offloads()}`,
  ].join('\n');
}

/** UDP is asked of the kernel. TUN would need rights and an interface: its answer is that of the kernel's version. */
function offloads(): string {
  const { fd, gso, gro } = openUdp({ family: 4, port: 0, gro: true });
  closeDescriptor(fd);
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const hasUso = major > 6 || (major === 6 && minor >= 2); // native/index.ts, OpenedTun.udpOffload
  const has = { 'udp-gso': gso, 'udp-gro': gro, 'tun-tcp': true, 'tun-udp': hasUso };
  const named = Object.entries(has).map(([name, is]) => `${name} ${is ? 'yes' : 'no'}`);
  return `${named.join(', ')} (Linux ${release()})`;
}
