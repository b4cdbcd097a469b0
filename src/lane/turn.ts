// One turn of a lane's loop: counts handed from one room to the other, in packet order. Nothing here sees a packet.

import { type BatchIo, READY } from 'node-tuntap2';
import type { Core } from 'wireguard-wasm';

/** What {@link turn} needs of {@link BatchIo}. */
export type Io = Pick<BatchIo, 'receiveUdp' | 'sendUdp' | 'readTun' | 'writeTun' | 'lastStale'>;

const UDP = READY.udp4 | READY.udp6;

/**
 * Moves what `ready` says is there: one native call per arrow of the walk. `io` counts failed calls, and a negative
 * count moves nothing. The memory is asked for at each call: it may have grown, and the old one would be empty.
 */
export function turn(core: Core, io: Io, ready: number): void {
  if ((ready & UDP) !== 0) {
    const datagrams = io.receiveUdp(core.memory.buffer, ready);
    if (datagrams > 0) {
      const frames = core.inbound(datagrams);
      if (frames > 0) io.writeTun(core.memory.buffer, frames);
      send(core, io, core.replies()); // cookie replies, keepalives, staged packets
    }
  }
  if ((ready & READY.tun) !== 0) {
    const frames = io.readTun(core.memory.buffer);
    if (frames > 0) send(core, io, core.outbound(frames));
  }
  if (core.handshakesWaiting() > 0) send(core, io, core.handshakes()); // behind data, for a bounded time
}

/** Takes what `ready` says is there, and does nothing with it. */
export function drain(core: Core, io: Io, ready: number): void {
  if ((ready & UDP) !== 0) io.receiveUdp(core.memory.buffer, ready);
  if ((ready & READY.tun) !== 0) io.readTun(core.memory.buffer);
}

/** Sends the first `messages` of the send column; peers whose source address the host has lost forget it. */
export function send(core: Core, io: Io, messages: number): void {
  if (messages <= 0) return;
  io.sendUdp(core.memory.buffer, messages);
  if (io.lastStale > 0) core.staleSources(messages);
}
