// Allowed IPs on their way to a lane: packed, because a hundred thousand objects would take a structured clone a second.
//
//   0 id of the peer u32 │ 4 is given u8 (0 = taken away) │ 5 version u8 (4, 6) │ 6 length u8 │ 7 unused │ 8 address 16
//
// Little-endian.

export const PREFIX_BYTES = 24;

/** One entry as it is read: views into the packed bytes, valid for the call. */
export type PrefixReader = (peer: number, isGiven: boolean, address: Uint8Array, length: number) => void;

/** Packs entries one by one. */
export class PrefixPacker {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  constructor(count: number) {
    this.#bytes = new Uint8Array(count * PREFIX_BYTES);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** At most as many as were announced. `address` has 4 or 16 bytes. */
  add(peer: number, isGiven: boolean, address: Uint8Array, length: number): void {
    const at = this.#offset;
    this.#view.setUint32(at, peer, true);
    this.#bytes[at + 4] = isGiven ? 1 : 0;
    this.#bytes[at + 5] = address.length === 4 ? 4 : 6;
    this.#bytes[at + 6] = length;
    this.#bytes.set(address, at + 8);
    this.#offset += PREFIX_BYTES;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#offset);
  }
}

export function readPrefixes(packed: Uint8Array, read: PrefixReader): void {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  for (let at = 0; at + PREFIX_BYTES <= packed.length; at += PREFIX_BYTES) {
    const addressBytes = packed[at + 5] === 4 ? 4 : 16;
    const address = packed.subarray(at + 8, at + 8 + addressBytes);
    read(view.getUint32(at, true), packed[at + 4] === 1, address, packed[at + 6] ?? 0);
  }
}
