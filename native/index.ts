// TUN devices, batched UDP, epoll and eventfd for Node.js on Linux: typed calls over the addon in src/.
// Set-up calls check their arguments and throw; calls on the packet path return a count or a negative errno, and count what
// failed.

export { SystemCallError } from './addon.ts';
export {
  BatchIo,
  type BatchIoOptions,
  DATAGRAM_ENTRY_BYTES,
  type Fault,
  FRAME_ENTRY_BYTES,
  type Link,
  READY,
  REPORT,
  SENT_WITHOUT_LOCAL,
} from './batch-io.ts';
export {
  adoptTun,
  adviseHugePages,
  closeDescriptor,
  nowMs,
  type OpenedTun,
  type OpenedUdp,
  openEvent,
  openTun,
  openUdp,
  sendPacketAs,
  sendUnixDatagram,
  setLinkMtu,
  setMark,
  type TunOptions,
  tunName,
  type UdpOptions,
  wake,
} from './descriptors.ts';
export { localPrefixes, type NetworkWatch, watchNetwork } from './network.ts';
