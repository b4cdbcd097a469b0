// A device at one moment → the answer to `get=1`. Pure. Keys go from bytes to hexadecimal bytes, never through a string;
// whoever sent the answer wipes it.

import { renderEndpoint } from '../../address/endpoint.ts';
import { renderPrefix, unpackPrefix } from '../../address/prefix.ts';
import { encodeHex, wipe } from '../../config/key.ts';
import type { DeviceSnapshot, PeerTraffic } from './device.ts';
import type { ModelPeer } from './model.ts';

const NO_KEY = new Uint8Array(32);
const NO_TRAFFIC: PeerTraffic = {
  endpoint: null,
  rxBytes: 0n,
  txBytes: 0n,
  lastHandshakeMs: 0,
  isMadeWithOther: false,
};
const FIRST_BYTES = 4096;

/** All lines, `errno=0` and the blank line at the end. */
export function renderGet(device: DeviceSnapshot): Uint8Array {
  const out = new Answer();
  if (device.privateKey !== undefined) out.key('private_key', device.privateKey);
  if (device.listenPort !== 0) out.line(`listen_port=${device.listenPort}`);
  if (device.fwmark !== 0) out.line(`fwmark=${device.fwmark}`);
  for (const peer of device.peers) renderPeer(out, peer, device.traffic(peer.id) ?? NO_TRAFFIC);
  out.line('errno=0\n');
  return out.bytes();
}

/** The answer to what went as it was meant, or did not. */
export function renderErrno(errno: number): Uint8Array {
  return Buffer.from(`errno=${errno}\n\n`);
}

function renderPeer(out: Answer, peer: ModelPeer, traffic: PeerTraffic): void {
  const endpoint = traffic.endpoint ?? peer.endpoint;
  const seconds = Math.floor(traffic.lastHandshakeMs / 1000);
  const nanoseconds = Math.floor((traffic.lastHandshakeMs - seconds * 1000) * 1e6);
  out.key('public_key', peer.publicKey);
  out.key('preshared_key', peer.presharedKey ?? NO_KEY);
  out.line('protocol_version=1');
  if (endpoint !== undefined) out.line(`endpoint=${renderEndpoint({ kind: 'address', ...endpoint })}`);
  out.line(`last_handshake_time_sec=${seconds}`);
  out.line(`last_handshake_time_nsec=${nanoseconds}`);
  out.line(`tx_bytes=${traffic.txBytes}`);
  out.line(`rx_bytes=${traffic.rxBytes}`);
  out.line(`persistent_keepalive_interval=${peer.keepaliveSeconds}`);
  for (const prefix of peer.allowedIps) out.line(`allowed_ip=${renderPrefix(unpackPrefix(prefix))}`);
}

/** Bytes that grow. What is outgrown is wiped. */
class Answer {
  #bytes = Buffer.alloc(FIRST_BYTES);
  #length = 0;

  line(text: string): void {
    this.#reserve(text.length + 1);
    this.#length += this.#bytes.write(`${text}\n`, this.#length, 'latin1');
  }

  key(name: string, key: Uint8Array): void {
    const digits = encodeHex(key);
    this.#reserve(name.length + 2 + digits.length);
    this.#length += this.#bytes.write(`${name}=`, this.#length, 'latin1');
    this.#bytes.set(digits, this.#length);
    this.#length += digits.length;
    wipe(digits);
    this.line('');
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#bytes.length) return;
    const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#length + length));
    larger.set(this.#bytes.subarray(0, this.#length));
    wipe(this.#bytes);
    this.#bytes = larger;
  }
}
