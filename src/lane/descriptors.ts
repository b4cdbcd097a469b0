// What a node opens: the TUN interface and its UDP sockets. They outlive a lane that failed, so that addresses, routes
// and port stay while a fresh one takes its place; whoever opened them closes them, once.

import {
  closeDescriptor,
  type OpenedTun,
  type OpenedUdp,
  openEvent,
  openTun,
  openUdp,
  SystemCallError,
} from 'node-tuntap2';
import { NodeError } from '../errors.ts';
import type { LaneDescriptors, LaneOffloads } from './messages.ts';

/** Socket buffers: a burst must fit while the lane is busy with another. */
const UDP_BUFFER_BYTES = 7 * 1024 * 1024;

export class Descriptors {
  readonly all: LaneDescriptors;
  /** The UDP port, the same for IPv4 and IPv6. */
  readonly port: number;

  private constructor(all: LaneDescriptors, port: number) {
    this.all = all;
    this.port = port;
  }

  /**
   * Opens UDP on `port` (0 = any) over IPv4 and, where the host has it, IPv6, then the TUN interface, which must not
   * exist yet, with those of the offloads that the host has. Nothing stays open when it throws.
   * @throws NodeError `ERR_NODE_PORT`, `ERR_NODE_PRIVILEGE`, `ERR_NODE_INTERFACE`
   */
  static open(interfaceName: string, port: number, offloads: LaneOffloads): Descriptors {
    const opened: number[] = [];
    const keep = (fd: number): number => {
      opened.push(fd);
      return fd;
    };
    try {
      const udp4 = openSocket(4, port, offloads.udpGro);
      keep(udp4.fd);
      const udp6 = openIpv6Socket(udp4.port, offloads.udpGro);
      if (udp6 !== undefined) keep(udp6);
      const tun = openInterface(interfaceName, offloads);
      keep(tun.fd);
      const event = keep(openEvent());
      const inUse = {
        udpGso: offloads.udpGso && udp4.gso,
        udpGro: udp4.gro,
        tunTcp: tun.tcpOffload,
        tunUdp: tun.udpOffload,
      };
      return new Descriptors({ tun: tun.fd, udp4: udp4.fd, udp6, event, offloads: inUse }, udp4.port);
    } catch (error) {
      for (const fd of opened) closeDescriptor(fd);
      throw error;
    }
  }

  /** Closes them all: the interface goes, and its addresses and routes with it. Once, after the lane has ended. */
  close(): void {
    const { tun, udp4, udp6, event } = this.all;
    for (const fd of [tun, udp4, udp6, event]) if (fd !== undefined) closeDescriptor(fd);
  }
}

function openSocket(family: 4 | 6, port: number, gro: boolean): OpenedUdp {
  try {
    return openUdp({
      family,
      port,
      receiveBufferBytes: UDP_BUFFER_BYTES,
      sendBufferBytes: UDP_BUFFER_BYTES,
      gro,
    });
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    switch (error.code) {
      case 'EADDRINUSE':
        throw new NodeError('ERR_NODE_PORT', `UDP port ${port} is in use by another program`, {
          hint: `choose another port, or find the program: ss -ulpn 'sport = :${port}'`,
          cause: error,
        });
      case 'EACCES':
        throw new NodeError('ERR_NODE_PORT', `UDP port ${port} is reserved for the system`, {
          hint: 'choose a port from 1024 up',
          cause: error,
        });
      default:
        throw error;
    }
  }
}

/** undefined on a host without IPv6. */
function openIpv6Socket(port: number, gro: boolean): number | undefined {
  try {
    return openSocket(6, port, gro).fd;
  } catch (error) {
    const isAbsent =
      error instanceof SystemCallError && ['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(error.code);
    if (isAbsent) return undefined;
    throw error;
  }
}

function openInterface(name: string, { tunTcp, tunUdp }: LaneOffloads): OpenedTun {
  try {
    // The core expects the header also where no superpacket passes.
    return openTun({ name, exclusive: true, vnetHeader: true, tcpOffload: tunTcp, udpOffload: tunUdp });
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    throw interfaceFault(name, error);
  }
}

function interfaceFault(name: string, error: SystemCallError): NodeError {
  switch (error.code) {
    case 'ENOENT':
    case 'ENXIO':
    case 'ENODEV':
      return new NodeError('ERR_NODE_PRIVILEGE', 'this system has no /dev/net/tun', {
        hint: 'load the module with `modprobe tun`; a container needs `--device /dev/net/tun`',
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
      return new NodeError('ERR_NODE_PRIVILEGE', `not permitted to make the interface ${name}`, {
        hint: 'run as root, or with CAP_NET_ADMIN and access to /dev/net/tun; a container needs `--cap-add NET_ADMIN --device /dev/net/tun`',
        cause: error,
      });
    case 'EBUSY':
    case 'EEXIST':
    case 'EINVAL':
      return new NodeError('ERR_NODE_INTERFACE', `an interface ${name} exists already, and is not ours`, {
        hint: `choose another name, or remove it: ip link del ${name}`,
        cause: error,
      });
    default:
      return new NodeError('ERR_NODE_INTERFACE', error.message, { cause: error });
  }
}
