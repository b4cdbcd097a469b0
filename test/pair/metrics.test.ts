// Metrics of a running node: served on an address of the overlay and on a socket, with what `status` says, and gone with
// the node.

import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { NodeProcess, OVERLAY } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { NODE, ping } from '../support/traffic.ts';

/** The page at `path`, asked by a client on this machine. */
async function scrape(socketPath: string): Promise<string> {
  const asked = request({ socketPath, path: '/metrics', host: 'localhost' }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(200);
  return await text(response);
}

function numberIn(page: string, series: string): number {
  const line = page.split('\n').find((one) => one.startsWith(`${series} `));
  if (line === undefined) throw new Error(`no ${series} in\n${page}`);
  return Number(line.slice(series.length));
}

async function served(): Promise<Pair> {
  return await startPair({
    presharedKey: true,
    metrics: { left: { listen: './metrics.sock' }, right: { listen: `${OVERLAY.right.v4}:9586` } },
  });
}

test('on a socket and on an overlay address, with the numbers of `status`, and without a secret', async () => {
  await using pair = await served();
  const { left, right, net } = pair;
  expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  const socket = `${left.files.directory}/metrics.sock`;

  const page = await scrape(socket);
  const peer = await left.peer('right');
  expect(numberIn(page, 'ringfence_peer_received_bytes_total{peer="right",interface="rf-left"}')).toBe(
    Number(peer.rxBytes),
  );
  expect(numberIn(page, 'ringfence_peer_last_handshake_seconds{peer="right",interface="rf-left"}')).toBe(
    peer.latestHandshakeSeconds,
  );
  expect(numberIn(page, 'ringfence_offload_active{offload="tun_tcp",interface="rf-left"}')).toBe(1);
  expect(numberIn(page, 'ringfence_lane_up{interface="rf-left"}')).toBe(1);
  for (const reason of Object.keys((await left.status()).drops)) {
    numberIn(page, `ringfence_dropped_packets_total{reason="${reason}",interface="rf-left"}`);
  }
  expect(page).not.toContain(left.files.keys.privateKey);

  // Through the tunnel itself, as Prometheus elsewhere in the overlay would.
  const script = `fetch('http://${OVERLAY.right.v4}:9586/metrics').then((r) => r.text()).then(console.log)`;
  const far = await net.left.exec(NODE, ['-e', script]);
  expect(numberIn(far, 'ringfence_peer_sent_bytes_total{peer="left",interface="rf-right"}')).toBeGreaterThan(
    0,
  );
  await left.stop();
  expect(existsSync(socket)).toBe(false);
  await right.stop();
});

test('a node that was killed leaves its socket, and the next one takes its place', async () => {
  await using pair = await served();
  const { left } = pair;
  const socket = `${left.files.directory}/metrics.sock`;
  left.process.signal('SIGKILL');
  await left.process.exited;
  expect(existsSync(socket)).toBe(true);
  await using again = await NodeProcess.start(left.host, left.files);
  expect(again.process.output).toContain(`metrics are served at ${socket}`);
  expect(await scrape(socket)).toContain('ringfence_lane_up');
});

test('an address that the host does not have ends the start, says so, and leaves nothing', async () => {
  await expect(
    startPair({ metrics: { left: { listen: '192.0.2.99:9586' }, right: { listen: './metrics.sock' } } }),
  ).rejects.toThrow(/cannot serve at http:\/\/192\.0\.2\.99:9586: .*EADDRNOTAVAIL.*ERR_NODE_LISTEN/s);
});
