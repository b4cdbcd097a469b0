// What the core imports: the few calls of WASI that Rust's standard library makes. Time comes from whoever runs the core,
// randomness from Node, and what is printed is only ever the message of a panic.

import { randomFillSync } from 'node:crypto';

/** Handshake timestamps lie on a grid of 2^24 ns (Linux drivers/net/wireguard/noise.c). */
const TIMESTAMP_GRID_NS = 2 ** 24;

/** `CLOCK_MONOTONIC` of WASI: asked for how long the core has worked on handshakes. */
const MONOTONIC = 1;

/** The system interface Rust's standard library expects: time, randomness, and a place for panic messages. */
export class HostCalls {
  memory: WebAssembly.Memory | undefined;
  readonly imports: Record<string, (...args: never[]) => unknown>;

  constructor(log: (text: string) => void, clock: () => { nowMs: number; offsetS: number }) {
    const view = (): DataView => new DataView(this.#buffer());
    this.imports = {
      random_get: (at: number, length: number) => {
        randomFillSync(new Uint8Array(this.#buffer(), at, length));
        return 0;
      },
      clock_time_get: (id: number, _precision: bigint, at: number) => {
        if (id === MONOTONIC) {
          view().setBigUint64(at, process.hrtime.bigint(), true);
          return 0;
        }
        const { nowMs, offsetS } = clock();
        // Whole milliseconds first, as core/src/host.rs does: both clocks must cut the same number.
        const ms = BigInt(Math.trunc(nowMs));
        const cutNs = Math.floor((Number(ms % 1000n) * 1e6) / TIMESTAMP_GRID_NS) * TIMESTAMP_GRID_NS;
        view().setBigUint64(at, (ms / 1000n + BigInt(offsetS)) * 1_000_000_000n + BigInt(cutNs), true);
        return 0;
      },
      fd_write: (_fd: number, vectors: number, count: number, written: number) => {
        const parts = Array.from({ length: count }, (_, index) => {
          const at = view().getUint32(vectors + index * 8, true);
          return Buffer.from(this.#buffer(), at, view().getUint32(vectors + index * 8 + 4, true));
        });
        const text = Buffer.concat(parts);
        if (text.length > 0) log(text.toString('utf8'));
        view().setUint32(written, text.length, true);
        return 0;
      },
      proc_exit: (code: number) => {
        throw new Error(`the core ended with ${code}`);
      },
      environ_get: () => 0,
      environ_sizes_get: (count: number, bytes: number) => {
        view().setUint32(count, 0, true);
        view().setUint32(bytes, 0, true);
        return 0;
      },
      sched_yield: () => 0,
    };
  }

  #buffer(): ArrayBuffer {
    if (this.memory === undefined) throw new Error('the core called its host before it had a memory');
    return this.memory.buffer;
  }
}
