// A hundred reloads under traffic, and one of a thousand peers: nothing is lost, no connection breaks. How long a reload and
// the longest round trip beside it took is printed, not asserted.

import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { ConfigChange } from '../../src/config/diff.ts';
import { askNode } from '../../src/control/node-socket.ts';
import { generateKeyPair } from '../support/keys.ts';
import type { NodeFile, NodeProcess, PeerFile } from '../support/node-process.ts';
import { OVERLAY } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import type { Host } from '../support/topology.ts';
import { measureTcp, ping } from '../support/traffic.ts';

const RELOADS = 100;
const PEERS = 1_000;
const CHANGED = 10;

async function reloadWith(node: NodeProcess, file: unknown): Promise<{ changes: number; ms: number }> {
  await writeFile(node.files.configFile, stringify(file));
  const beganMs = performance.now();
  const changes = await askNode<readonly ConfigChange[]>(node.files.runDirectory, node.interfaceName, {
    request: 'reload',
  });
  return { changes: changes?.length ?? 0, ms: performance.now() - beganMs };
}

type Watched = { readonly answered: number; readonly missing: number; readonly longestMs: number };

/** Pings all the time while `work` goes on. Those after the last answer are still on their way. */
async function pinging(
  from: Host,
  address: string,
  intervalMs: number,
  work: () => Promise<void>,
): Promise<Watched> {
  await using watch = from.spawn('ping', ['-n', '-i', `${intervalMs / 1000}`, '-W', '10', address]);
  await work();
  watch.signal('SIGINT');
  await watch.exited;
  const answers = [...watch.output.matchAll(/icmp_seq=(\d+) .*time=([\d.]+) ms/g)];
  const last = Math.max(...answers.map(([, sequence]) => Number(sequence)));
  return {
    answered: answers.length,
    missing: last - answers.length,
    longestMs: Math.max(...answers.map(([, , ms]) => Number(ms))),
  };
}

function withPeers(file: NodeFile, peers: Readonly<Record<string, PeerFile>>): NodeFile {
  return { ...file, peers: { ...file.peers, ...peers } };
}

describe.concurrent('reloads', () => {
  test(`${RELOADS} under a TCP stream: no ping is lost, the stream goes on`, async () => {
    await using pair = await startPair({ names: { left: 'many-l', right: 'many-r' } });
    const { net, left } = pair;
    const { file } = left.files;
    const other = withPeers(
      {
        ...file,
        interface: {
          ...file.interface,
          addresses: [...OVERLAY.left.addresses, '10.9.0.11/24', '10.44.0.1/16', 'fd44::1/64'],
          mtu: 1400,
        },
      },
      {
        carol: {
          public_key: generateKeyPair().publicKey,
          addresses: ['10.9.0.30'],
          routes: ['10.78.0.0/16', 'fd78::/48'],
        },
      },
    );
    await ping(net.left, OVERLAY.right.v4);
    const stream = measureTcp(net.left, net.right, OVERLAY.right.v4, 40);
    let done = 0;
    const work = async (): Promise<void> => {
      for (; done < RELOADS; done++) {
        const { changes } = await reloadWith(left, done % 2 === 0 ? other : file);
        expect(changes).toBe(3);
      }
    };
    const watched = await pinging(net.right, OVERLAY.left.v4, 10, work);
    expect(watched.missing).toBe(0);
    expect((await stream).bytes).toBeGreaterThan(0);
    expect((await left.status()).lane.restarts).toBe(0);
    process.stdout.write(
      `${RELOADS} reloads: ${watched.answered} pings, the longest took ${watched.longestMs} ms`,
    );
  });

  test(`one of ${PEERS} peers of which ${CHANGED} change: no ping is lost`, async () => {
    await using pair = await startPair({ names: { left: 'big-l', right: 'big-r' } });
    const { net, left } = pair;
    const peer = (index: number): [string, PeerFile] => [
      `peer${index}`,
      {
        public_key: generateKeyPair().publicKey,
        addresses: [`10.10.${index >> 8}.${index & 255}`],
        endpoints: [`203.0.113.${index & 255}:${10_000 + index}`],
      },
    ];
    const peers = Object.fromEntries(Array.from({ length: PEERS }, (_, index) => peer(index)));
    const first = withPeers(left.files.file, peers);
    const changed = Object.entries(peers)
      .slice(100, 100 + CHANGED)
      .map(([name, one]): [string, PeerFile] => [name, { ...one, routes: [`10.20.${name.slice(-3)}.0/24`] }]);
    expect((await reloadWith(left, first)).changes).toBe(PEERS);
    await ping(net.left, OVERLAY.right.v4);
    const times: number[] = [];
    const watched = await pinging(net.right, OVERLAY.left.v4, 2, async () => {
      for (let round = 0; round < 10; round++) {
        const next = round % 2 === 0 ? withPeers(first, Object.fromEntries(changed)) : first;
        const { changes, ms } = await reloadWith(left, next);
        expect(changes).toBe(CHANGED);
        times.push(ms);
      }
    });
    expect(watched.missing).toBe(0);
    const shown = times.map((ms) => ms.toFixed(0)).join(', ');
    console.log(
      `${PEERS} peers, ${CHANGED} changed: ${shown} ms; of ${watched.answered} pings the longest took ${watched.longestMs} ms`,
    );
  });
});
