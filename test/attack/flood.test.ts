// 20,000 initiations a second with a valid mac1, for eight seconds: a live session does not notice, a new peer gets in by
// its cookie, one source alone brings nobody else to need one, and two seconds later all is as before.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Attacker } from '../support/attacker/attacker.ts';
import { type Initiation, mac1Of, openCookieReply, rawKeyPair } from '../support/attacker/noise.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import type { LineProcess } from '../support/line-process.ts';
import { NodeProcess, OVERLAY, Scratch, writeNode } from '../support/node-process.ts';
import { addHost, type Host, type Routed, routed } from '../support/topology.ts';
import { endpoint, ping } from '../support/traffic.ts';

const NODE = fileURLToPath(new URL('../../scripts/node', import.meta.url));
const FLOOD = fileURLToPath(new URL('../support/attacker/flood.ts', import.meta.url));
const RATE = 20_000;
const SECONDS = 8;
const REPEAT_MS = 500;

/** Of the flood: its host answers for all of 198.18.4.0/24. */
const ONE_SOURCE = ['198.18.4.10'];
const MANY_SOURCES = Array.from({ length: 250 }, (_, n) => `198.18.4.${n + 2}`);

interface Ground extends AsyncDisposable {
  readonly net: Routed;
  /** Attacked, with `early` and `late` for peers. */
  readonly node: NodeProcess;
  readonly key: string;
  /** Its host has an `early` node, which runs; `late` is played by the test. */
  readonly early: NodeProcess;
  readonly late: Attacker;
  readonly flooder: Host;
}

const LATE = { v4: '10.9.0.3', v6: 'fd09::3' };

async function ground(): Promise<Ground> {
  await using undo = new AsyncDisposableStack();
  const scratch = undo.use(await Scratch.create());
  const net = undo.use(await routed());
  const flooder = await addHost(net, 'flooder', 4);
  await flooder.ip('route', 'add', 'local', '198.18.4.0/24', 'dev', 'eth0');
  const guest = await addHost(net, 'guest', 5);
  const keys = { node: generateKeyPair(), early: generateKeyPair(), late: generateKeyPair() };
  const own = (name: string, addresses: readonly string[]) => ({
    name,
    private_key_file: 'node.key',
    addresses,
    listen_port: 51820,
  });
  const node = await writeNode(join(scratch.path, 'node'), keys.node, {
    interface: own('rf-node', OVERLAY.right.addresses),
    peers: {
      early: { public_key: keys.early.publicKey, addresses: [OVERLAY.left.v4, OVERLAY.left.v6] },
      late: { public_key: keys.late.publicKey, addresses: [LATE.v4, LATE.v6] },
    },
  });
  const early = await writeNode(join(scratch.path, 'early'), keys.early, {
    interface: own('rf-early', OVERLAY.left.addresses),
    peers: {
      node: {
        public_key: keys.node.publicKey,
        addresses: [OVERLAY.right.v4, OVERLAY.right.v6],
        endpoints: [endpoint(net.right.v4, 51820)],
      },
    },
  });
  const started = undo.use(await NodeProcess.start(net.right, node));
  const peer = undo.use(await NodeProcess.start(net.left, early));
  const late = undo.use(
    await Attacker.start(guest, {
      keys: rawKeyPair(Buffer.from(keys.late.privateKey, 'base64')),
      target: { address: net.right.v4, port: 51820, publicKey: Buffer.from(keys.node.publicKey, 'base64') },
      inside: { own: LATE, target: OVERLAY.right },
    }),
  );
  expect((await ping(net.left, OVERLAY.right.v4, { count: 3 })).received).toBe(3);
  const owned = undo.move();
  return {
    net,
    node: started,
    key: keys.node.publicKey,
    early: peer,
    late,
    flooder,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function flood(all: Ground, addresses: readonly string[]): Promise<LineProcess> {
  const args = [FLOOD, all.net.right.v4, '51820', all.key, `${RATE}`, `${SECONDS}`, ...addresses];
  const process = all.flooder.spawn(NODE, args);
  await process.line(/"ready"/, 10_000);
  return process;
}

/**
 * Sends initiations as a peer repeats them, only sooner, until one is answered: the flood may fill the node's socket, and
 * then what is lost is anybody's.
 */
async function knock(
  peer: Attacker,
  cookie?: Uint8Array,
): Promise<{ initiation: Initiation; answer: Uint8Array }> {
  const sent: Initiation[] = [];
  return await until(
    async () => {
      const initiation = peer.initiation({ cookie });
      sent.push(initiation);
      await peer.send(initiation.message);
      const answers = peer.take((datagram) => answered(datagram, sent), 'an answer', REPEAT_MS);
      return await answers.catch(() => undefined);
    },
    10_000,
    'an answer to an initiation',
  );
}

/** The initiation that a response or cookie reply answers. */
function answered(datagram: Uint8Array, sent: readonly Initiation[]) {
  const receiver = Buffer.from(datagram).readUInt32LE(datagram[0] === 2 ? 8 : 4);
  const initiation = sent.find(({ sender }) => sender === receiver);
  return initiation === undefined ? undefined : { initiation, answer: datagram };
}

const load = async (node: NodeProcess) => (await node.status()).lane.asksCookiesOf;

describe('a flood of initiations', () => {
  test.each([
    { name: 'one source', sources: ONE_SOURCE, asked: 'busy-sources' },
    { name: '250 sources', sources: MANY_SOURCES, asked: 'everyone' },
  ] as const)('of $name leaves a live session alone and lets a peer in', async ({ sources, asked }) => {
    await using all = await ground();
    const { net, node, late } = all;
    const flooding = await flood(all, sources);
    const pinging = ping(net.left, OVERLAY.right.v4, { count: 70, intervalMs: 100, waitMs: 1_000 });
    await until(async () => (await load(node)) === asked, 5_000, `cookies are asked of ${asked}`);

    // A peer that was not there before: with a cookie if it is asked for one, and that is only when everyone is.
    let { initiation, answer } = await knock(late);
    if (asked === 'busy-sources') expect(answer[0], 'no cookie is asked of it').toBe(2);
    if (answer[0] === 3) {
      const cookie = openCookieReply(answer, late.options.target.publicKey, mac1Of(initiation.message));
      ({ initiation, answer } = await knock(late, cookie));
    }
    expect(answer[0]).toBe(2);
    await late.ping(late.finish(initiation, answer));

    const { sent, received } = await pinging;
    expect(received / sent, `${received} of ${sent} pings`).toBeGreaterThanOrEqual(0.8);
    await flooding.line(/"sent"/, 20_000);
    await until(async () => (await load(node)) === 'nobody', 2_000, 'the load is over');
    await late.ping(await late.initiate());
    expect((await ping(net.left, OVERLAY.right.v4, { count: 3 })).received).toBe(3);
    expect((await node.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
    expect(await node.drops('handshake-cookie')).toBeGreaterThan(RATE);
  });
});
