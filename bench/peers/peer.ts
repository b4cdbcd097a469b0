// What the benchmark asks of an implementation: one adapter per file of this folder.

import type { Host } from '../../test/support/topology.ts';

/** Overlay MTU of every measurement: what fits 1,500 bytes of IPv6 underlay. */
export const MTU = 1420;

export type Ends = {
  readonly left: Host;
  readonly right: Host;
  /** A folder of this round alone. */
  readonly directory: string;
};

/** Two ends that are configured, up, and know each other. */
export type RunningPair = {
  /** The processes whose CPU time and memory are the implementation's. */
  readonly pids: { readonly left: number; readonly right: number };
  /** Both processes are gone when it resolves. */
  stop(): Promise<void>;
};

export type RunningEnd = {
  readonly pid: number;
  /** From the start of its process to configured and up; keys and files are made before. */
  readonly readyMs: number;
  stop(): Promise<void>;
};

export type Peer = {
  readonly name: string;
  /** Builds or finds the program, outside of the namespaces, and says which version it is. */
  prepare(log: (line: string) => void): Promise<string>;
  start(ends: Ends): Promise<RunningPair>;
  /** One end alone, with `peerCount` peers that never answer; resolves when it is configured and up. */
  startAlone(host: Host, directory: string, peerCount: number): Promise<RunningEnd>;
};

/** The overlay address of the peer with this number, from 1 on; unique up to 65,000. */
export function peerAddress(number: number): string {
  return `10.10.${number >> 8}.${number & 255}`;
}
