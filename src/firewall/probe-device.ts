// Where probes enter the host: a TUN interface of our own, whose packets the kernel takes as having come in by another one. Its
// ingress (tc, act_mirred) hands them on, so on the way they have the name of that interface, without anything being changed
// there. Interface, filters and all go with its descriptor: also when this process is killed.

import { writeFileSync, writeSync } from 'node:fs';
import { closeDescriptor, openTun } from 'node-tuntap2';
import type { Commands } from './commands.ts';

const NAME = 'rfprobe%d';

export class ProbeDevice implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * A packet with the IPv4 identification or IPv6 flow label i + 1 comes in by the interface `ingress[i]`.
   * @throws SystemCallError without the privilege; FirewallError `ERR_FIREWALL_COMMAND` where tc or the kernel cannot
   */
  static async open(commands: Commands, ingress: readonly string[]): Promise<ProbeDevice> {
    const { fd, name } = openTun({ name: NAME, exclusive: true });
    const device = new ProbeDevice(fd);
    try {
      disableIp6(name);
      // No address of its own: it would be news of this host's network, upon which all is tried again. Refused without IPv6.
      await commands.try('ip', ['link', 'set', name, 'addrgenmode', 'none']);
      await commands.run('test', 'ip', ['link', 'set', name, 'up']);
      const filters = ingress.flatMap((to, i) => [
        filter(name, 'ip', 2 * i + 1, `match u16 ${i + 1} 0xffff at 4`, to),
        filter(name, 'ipv6', 2 * i + 2, `match u32 ${i + 1} 0x000fffff at 0`, to),
      ]);
      const script = [`qdisc add dev ${name} ingress`, ...filters].map((line) => `${line}\n`).join('');
      await commands.run('test', 'tc', ['-batch', '-'], script);
    } catch (error) {
      device[Symbol.dispose]();
      throw error;
    }
    return device;
  }

  /** What the kernel does not take, such as for an interface that is down, does not arrive. */
  send(packet: Uint8Array): void {
    try {
      writeSync(this.#fd, packet);
    } catch {
      // Its counters say so.
    }
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.#fd);
  }
}

function filter(device: string, protocol: string, priority: number, match: string, to: string): string {
  return `filter add dev ${device} parent ffff: protocol ${protocol} prio ${priority} u32 ${match} action mirred ingress redirect dev ${to}`;
}

/** Neither router solicitations nor group memberships. A kernel without IPv6 has no such file, a container may not write it. */
function disableIp6(name: string): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
  } catch {
    // Then they are said to nobody.
  }
}
