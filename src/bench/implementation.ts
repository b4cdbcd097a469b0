// What a measurement knows of an implementation: a program that can be started as one end of a tunnel. The two ways to
// configure one are ringfence.ts and uapi.ts; which programs there are is programs.ts.

import { encodeKey, generatePrivateKey, publicKeyOf, renderPublicKey } from '../config/key.ts';
import type { Host } from './topology.ts';

/** A program that was found on this machine. Plain data: it is handed into the namespaces. */
export interface Program {
  readonly name: string;
  readonly version: string;
  /** How it is configured. */
  readonly kind: 'ringfence' | 'uapi';
  /** What starts it in the foreground; its interface or its file comes behind. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Of `ringfence`: both ends have a policy of so many rules, the last of which grants what is measured. Without it, none. */
  readonly policyRules?: number;
}

/** Keys of a measurement as text: they protect nothing, and end with it. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export function generateKeyPair(): KeyPair {
  const privateKey = generatePrivateKey();
  return {
    privateKey: Buffer.from(encodeKey(privateKey)).toString().trim(),
    publicKey: renderPublicKey(publicKeyOf(privateKey)),
  };
}

export interface EndPeer {
  readonly publicKey: string;
  /** `ADDRESS:PORT`; without it the peer has to come first. */
  readonly endpoint?: string;
  /** In the overlay, without prefix length. */
  readonly addresses: readonly string[];
}

/** One end of a tunnel. */
export interface EndOptions {
  readonly host: Host;
  /** A folder of this end alone. */
  readonly directory: string;
  /** Unique among all hosts of a run: their sockets share one folder. */
  readonly device: string;
  readonly privateKey: string;
  readonly listenPort: number;
  /** In the overlay, with prefix lengths: they route to the peers. */
  readonly addresses: readonly string[];
  readonly mtu: number;
  readonly peers: readonly EndPeer[];
}

/** An end that is configured and up. */
export interface RunningEnd extends AsyncDisposable {
  /** The process whose CPU time and memory are the implementation's. */
  readonly pid: number;
  /** From the start of its process to configured and up; keys and files are made before. */
  readonly readyMs: number;
  /** The offloads in effect, as far as the program says. */
  offloads(): Promise<readonly string[]>;
}
