// What a lane has counted of peers, as one block of bytes: an object each, with an address of its own, took the main thread
// longer to receive than to use. Pure; little-endian.
//
//   0 id u32 │ 4 port u16 │ 6 version of the endpoint u8, 0 = none │ 7 made with other keys u8 │ 8 scope u32 │ 12 address 16
//   28 unused │ 32 received u64 │ 40 sent u64 │ 48 last handshake f64, -1 = never

import type { LanePeerStatus } from './messages.ts';

const RECORD_BYTES = 56;

export function packPeers(peers: readonly LanePeerStatus[]): Uint8Array {
  const bytes = new Uint8Array(peers.length * RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [
    index,
    { id, endpoint, rxBytes, txBytes, lastHandshakeMs, isMadeWithOther },
  ] of peers.entries()) {
    const at = index * RECORD_BYTES;
    view.setUint32(at, id, true);
    if (endpoint !== null) {
      view.setUint16(at + 4, endpoint.port, true);
      view.setUint8(at + 6, endpoint.address.length === 4 ? 4 : 6);
      view.setUint32(at + 8, endpoint.scope, true);
      bytes.set(endpoint.address, at + 12);
    }
    view.setUint8(at + 7, isMadeWithOther ? 1 : 0);
    view.setBigUint64(at + 32, rxBytes, true);
    view.setBigUint64(at + 40, txBytes, true);
    view.setFloat64(at + 48, lastHandshakeMs ?? -1, true);
  }
  return bytes;
}

/** Their addresses are views of `bytes`. */
export function unpackPeers(bytes: Uint8Array): LanePeerStatus[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / RECORD_BYTES }, (_, index) => {
    const at = index * RECORD_BYTES;
    const version = view.getUint8(at + 6);
    const lastHandshakeMs = view.getFloat64(at + 48, true);
    return {
      id: view.getUint32(at, true),
      endpoint:
        version === 0
          ? null
          : {
              address: bytes.subarray(at + 12, at + (version === 4 ? 16 : 28)),
              port: view.getUint16(at + 4, true),
              scope: view.getUint32(at + 8, true),
            },
      rxBytes: view.getBigUint64(at + 32, true),
      txBytes: view.getBigUint64(at + 40, true),
      lastHandshakeMs: lastHandshakeMs < 0 ? null : lastHandshakeMs,
      isMadeWithOther: view.getUint8(at + 7) !== 0,
    };
  });
}
