// What a node opens: the TUN interface and its UDP sockets. They outlive a lane that failed, so that addresses, routes
// and port stay while a fresh one takes its place; whoever opened them closes them, once.

import {
  adoptTun,
  closeDescriptor,
  type OpenedTun,
  type OpenedUdp,
  openEvent,
  openTun,
  openUdp,
  SystemCallError,
  setLinkMtu,
  setMark,
} from 'node-tuntap2';
import { codeOf, NodeError } from '../errors.ts';
import type { LaneDescriptors, LaneOffloads } from './messages.ts';

/** Socket buffers: a burst must fit while the lane is busy with another. */
const UDP_BUFFER_BYTES = 7 * 1024 * 1024;

/** The two sockets of a device, on one port. */
export interface Sockets {
  readonly udp4: number;
  readonly udp6: number | undefined;
  readonly port: number;
  /** Which trains the host takes and gives. */
  readonly gso: boolean;
  readonly gro: boolean;
}

/** What a device is opened with. */
export interface DescriptorOptions {
  readonly interfaceName: string;
  /** 0 = any. */
  readonly port: number;
  readonly offloads: LaneOffloads;
  /** A TUN descriptor that somebody has opened, in place of one of our own. */
  readonly tun?: number | undefined;
  /** What an interface of our own is given; 1,500 without it. */
  readonly mtu?: number;
}

/** How often a port is looked for that is free over both families. */
const PORT_ATTEMPTS = 100;

export class Descriptors {
  /** What the interface is called. */
  readonly name: string;
  readonly #tun: OpenedTun;
  readonly #event: number;
  readonly #offloads: LaneOffloads;
  #sockets: Sockets;

  private constructor(tun: OpenedTun, event: number, sockets: Sockets, offloads: LaneOffloads) {
    this.name = tun.name;
    this.#offloads = offloads;
    this.#tun = tun;
    this.#event = event;
    this.#sockets = sockets;
  }

  get all(): LaneDescriptors {
    const { udp4, udp6, gso, gro } = this.#sockets;
    const { fd, vnetHeader, tcpOffload, udpOffload } = this.#tun;
    const { udpGso, udpGro } = this.#offloads;
    const offloads = { udpGso: udpGso && gso, udpGro: udpGro && gro, tunTcp: tcpOffload, tunUdp: udpOffload };
    return { tun: fd, addsHeader: !vnetHeader, udp4, udp6, event: this.#event, offloads };
  }

  /** The UDP port, the same for IPv4 and IPv6. */
  get port(): number {
    return this.#sockets.port;
  }

  /**
   * Opens UDP over IPv4 and, where the host has it, IPv6, then the TUN interface, which must not exist yet, with those of
   * the offloads that the host has. Nothing of ours stays open when it throws.
   * @throws NodeError `ERR_NODE_PORT`, `ERR_NODE_PRIVILEGE`, `ERR_NODE_INTERFACE`
   */
  static open(options: DescriptorOptions): Descriptors {
    const sockets = openSockets(options.port, 0, options.offloads);
    try {
      const tun = openInterface(options);
      try {
        return new Descriptors(tun, openEvent(), sockets, options.offloads);
      } catch (error) {
        closeDescriptor(tun.fd);
        throw error;
      }
    } catch (error) {
      closeSockets(sockets);
      throw error;
    }
  }

  /** Opens other sockets, not in use yet; the present ones stay. @throws NodeError `ERR_NODE_PORT` */
  openSockets(port: number, mark: number): Sockets {
    return openSockets(port, mark, this.#offloads);
  }

  /** Takes other sockets in the place of the present ones, which come back to be closed once no lane uses them. */
  exchange(sockets: Sockets): Sockets {
    const former = this.#sockets;
    this.#sockets = sockets;
    return former;
  }

  /**
   * Marks what the sockets send from now on; 0 = no mark. Both or none.
   * @throws SystemCallError `EPERM` without CAP_NET_ADMIN
   */
  setMark(mark: number, formerMark: number): void {
    const { udp4, udp6 } = this.#sockets;
    setMark(udp4, mark);
    if (udp6 === undefined) return;
    try {
      setMark(udp6, mark);
    } catch (error) {
      setMark(udp4, formerMark);
      throw error;
    }
  }

  /** Closes them all: the interface goes, and its addresses and routes with it. Once, after the lane has ended. */
  close(): void {
    closeDescriptor(this.#tun.fd);
    closeSockets(this.#sockets);
    closeDescriptor(this.#event);
  }
}

/** UDP on `port` (0 = any), with a mark (0 = none). */
function openSockets(port: number, mark: number, { udpGro }: LaneOffloads): Sockets {
  for (let attempt = 1; ; attempt++) {
    const udp4 = openSocket(4, port, mark, udpGro);
    try {
      const udp6 = openIpv6Socket(udp4.port, mark, udpGro);
      return { udp4: udp4.fd, udp6, port: udp4.port, gso: udp4.gso, gro: udp4.gro };
    } catch (error) {
      closeDescriptor(udp4.fd);
      // Any port will do, and this one was free over IPv4 only.
      if (port === 0 && codeOf(error) === 'ERR_NODE_PORT' && attempt < PORT_ATTEMPTS) continue;
      throw error;
    }
  }
}

export function closeSockets({ udp4, udp6 }: Sockets): void {
  closeDescriptor(udp4);
  if (udp6 !== undefined) closeDescriptor(udp6);
}

function openSocket(family: 4 | 6, port: number, mark: number, gro: boolean): OpenedUdp {
  try {
    return openUdp({
      family,
      port,
      receiveBufferBytes: UDP_BUFFER_BYTES,
      sendBufferBytes: UDP_BUFFER_BYTES,
      gro,
      ...(mark === 0 ? {} : { mark }),
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
function openIpv6Socket(port: number, mark: number, gro: boolean): number | undefined {
  try {
    return openSocket(6, port, mark, gro).fd;
  } catch (error) {
    const isAbsent =
      error instanceof SystemCallError && ['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(error.code);
    if (isAbsent) return undefined;
    throw error;
  }
}

function openInterface({ interfaceName: name, offloads, tun, mtu }: DescriptorOptions): OpenedTun {
  const { tunTcp, tunUdp } = offloads;
  try {
    if (tun !== undefined) return adoptTun(tun, { tcpOffload: tunTcp, udpOffload: tunUdp });
    // The core expects the header also where no superpacket passes.
    const opened = openTun({
      name,
      exclusive: true,
      vnetHeader: true,
      tcpOffload: tunTcp,
      udpOffload: tunUdp,
    });
    if (mtu !== undefined) setLinkMtu(opened.fd, mtu);
    return opened;
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
