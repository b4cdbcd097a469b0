// wireguard-go: the newest by the Go module proxy, built once into bench/.cache; without Go, the system's, named as such.

import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { generateKeyPair } from '../../test/support/keys.ts';
import { OVERLAY } from '../../test/support/node-process.ts';
import { endpoint } from '../../test/support/traffic.ts';
import { WireguardGo } from '../../test/support/wireguard-go.ts';
import { MTU, type Peer, peerAddress } from './peer.ts';

const MODULE = 'golang.zx2c4.com/wireguard';
const CACHE = fileURLToPath(new URL('../.cache/wireguard-go', import.meta.url));
const BUILT = join(CACHE, 'wireguard-go');

function binary(): string {
  return existsSync(BUILT) ? BUILT : 'wireguard-go';
}

export const wireguardGo: Peer = {
  name: 'wireguard-go',

  async prepare(log) {
    if (!existsSync(BUILT)) {
      log(`building ${MODULE}@latest …`);
      await mkdir(CACHE, { recursive: true });
      const build = await execa('go', ['install', `${MODULE}@latest`], {
        env: { GOBIN: CACHE, CGO_ENABLED: '0', GOFLAGS: '-trimpath' },
        reject: false,
      });
      if (build.failed)
        log(`no newer wireguard-go could be built: ${build.shortMessage}\n${build.stderr ?? ''}`);
      else await rename(join(CACHE, 'wireguard'), BUILT);
    }
    if (existsSync(BUILT)) {
      const { stdout } = await execa('go', ['version', '-m', BUILT]);
      const go = /: (go[\d.]+)/.exec(stdout)?.[1];
      const version = /^\s*mod\s+\S+\s+(\S+)/m.exec(stdout)?.[1];
      if (version !== undefined) return `${version} (${go})`;
      await rm(BUILT); // a program that does not say what it is cannot be compared with
    }
    const { stdout } = await execa('wireguard-go', ['--version']);
    return `${/v?[\d.]+\d/.exec(stdout)?.[0] ?? 'unknown'} (the system's package)`;
  },

  async start({ left, right }) {
    const keys = { left: generateKeyPair(), right: generateKeyPair() };
    const start = (own: 'left' | 'right', other: 'left' | 'right') => {
      const [host, far] = own === 'left' ? [left, right] : [right, left];
      return WireguardGo.start(host, {
        binary: binary(),
        device: `wg-${own}`,
        privateKey: keys[own].privateKey,
        listenPort: 51820,
        addresses: OVERLAY[own].addresses,
        mtu: MTU,
        peers: [
          {
            publicKey: keys[other].publicKey,
            endpoint: endpoint(far.v4, 51820),
            allowedIps: [`${OVERLAY[other].v4}/32`, `${OVERLAY[other].v6}/128`],
          },
        ],
      });
    };
    const near = await start('left', 'right');
    const far = await start('right', 'left');
    return {
      pids: { left: near.process.pid, right: far.process.pid },
      stop: async () => void (await Promise.all([near.stop(), far.stop()])),
    };
  },

  async startAlone(host, _directory, peerCount) {
    const peers = Array.from({ length: peerCount }, (_, index) => ({
      publicKey: generateKeyPair().publicKey,
      allowedIps: [`${peerAddress(index + 1)}/32`],
    }));
    const { privateKey } = generateKeyPair();
    const began = performance.now();
    const end = await WireguardGo.start(host, {
      binary: binary(),
      device: 'wg0',
      privateKey,
      listenPort: 51820,
      addresses: ['10.10.255.1/16'],
      mtu: MTU,
      peers,
      routes: [], // the interface's own network covers them
    });
    return { pid: end.process.pid, readyMs: performance.now() - began, stop: () => end.stop() };
  },
};
