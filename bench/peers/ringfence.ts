// The program of this checkout, as `ringfence run` starts it.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { generateKeyPair } from '../../test/support/keys.ts';
import {
  NodeProcess,
  OVERLAY,
  type PeerFile,
  writeNode,
  writePair,
} from '../../test/support/node-process.ts';
import { MTU, type Peer, peerAddress } from './peer.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export const ringfence: Peer = {
  name: 'ringfence',

  async prepare() {
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    const node = await execa('scripts/node', ['--version'], { cwd: ROOT });
    return `${version} (Node.js ${node.stdout.slice(1)})`;
  },

  async start({ left, right, directory }) {
    const files = await writePair(directory, {
      left: { host: left, addresses: OVERLAY.left.addresses },
      right: { host: right, addresses: OVERLAY.right.addresses },
      mtu: MTU,
    });
    const near = await NodeProcess.start(left, files.left);
    const far = await NodeProcess.start(right, files.right);
    return {
      pids: { left: near.process.pid, right: far.process.pid },
      stop: async () => void (await Promise.all([near.stop(), far.stop()])),
    };
  },

  async startAlone(host, directory, peerCount) {
    const peers: Record<string, PeerFile> = {};
    for (let number = 1; number <= peerCount; number += 1) {
      peers[`peer${number}`] = { public_key: generateKeyPair().publicKey, addresses: [peerAddress(number)] };
    }
    const files = await writeNode(directory, generateKeyPair(), {
      interface: {
        name: 'rf0',
        private_key_file: 'node.key',
        addresses: ['10.10.255.1/16'],
        listen_port: 51820,
        mtu: MTU,
      },
      peers,
    });
    const began = performance.now();
    const node = await NodeProcess.start(host, files, { readyDeadlineMs: 120_000 });
    const readyMs = performance.now() - began;
    return { pid: node.process.pid, readyMs, stop: async () => void (await node.stop()) };
  },
};
