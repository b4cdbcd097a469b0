// One peer changes, and ten whose names and addresses begin like its own notice nothing: 10.9.0.1 and fd09::1 beside .10 to .19 and ::10
// to ::19, in the packet filter alone and with the policy in the host's rules once more.

import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { attackRingfence } from '../support/attacker/attack.ts';
import { Attacker, Socket } from '../support/attacker/attacker.ts';
import { rawKeyPair, type Session } from '../support/attacker/noise.ts';
import { udpPacket } from '../support/attacker/packets.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeProcess, OVERLAY } from '../support/node-process.ts';

const PORT = 7_000;
const VERSIONS = ['v4', 'v6'] as const;
const NODE = OVERLAY.right;
const NUMBERS = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19];
const OTHERS = NUMBERS.map((number) => `attacker${number}`);

type Talker = { readonly name: string; readonly peer: Attacker; readonly session: Session };

/** Eleven peers with a session each, and what the node is sent to its port. */
async function eleven(name: string) {
  await using undo = new AsyncDisposableStack();
  const keys = new Map(OTHERS.map((one) => [one, generateKeyPair()]));
  const inside = (number: number) => ({ v4: `10.9.0.${number}`, v6: `fd09::${number}` });
  const peers = NUMBERS.map((number) => {
    const { v4, v6 } = inside(number);
    return [
      `attacker${number}`,
      { public_key: keys.get(`attacker${number}`)?.publicKey ?? '', addresses: [v4, v6] },
    ] as const;
  });
  const ground = undo.use(await attackRingfence({ name, peers: Object.fromEntries(peers) }));
  const { attacker, net, node } = ground;
  const others = await Promise.all(
    NUMBERS.map(async (number, i) => {
      const privateKey = Buffer.from(keys.get(`attacker${number}`)?.privateKey ?? '', 'base64');
      return await Attacker.start(net.left, {
        ...attacker.options,
        keys: rawKeyPair(privateKey),
        listenPort: 51_830 + i,
        inside: { own: inside(number), target: NODE },
      });
    }),
  );
  for (const other of others) undo.use(other);
  const started = [attacker, ...others].map(async (peer, i): Promise<Talker> => {
    const session = await peer.initiate();
    await peer.ping(session);
    return { name: ['attacker', ...OTHERS][i] ?? '', peer, session };
  });
  const talkers = await Promise.all(started);
  const sockets = await Promise.all(VERSIONS.map((version) => Socket.open(net.right, NODE[version], PORT)));
  for (const socket of sockets) undo.use(socket);
  const owned = undo.move();
  return { net, node, talkers, sockets, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const GRANTED = [{ to: 'self', ports: [`udp/${PORT}`, 'icmp'] }];
const REVOKED = [{ to: 'self', ports: ['icmp'] }];

type Mirror = 'on' | 'off';

/** The policy, with these rows of the one that changes; null: without that peer. */
async function reload(node: NodeProcess, mirror: Mirror, rows: readonly object[] | null): Promise<void> {
  const { file, configFile } = node.files;
  const all = Object.entries(file.peers).map(([name, peer]) => {
    return [name, { ...peer, allow: name === 'attacker' ? rows : GRANTED }] as const;
  });
  const peers = Object.fromEntries(all.filter(([, { allow }]) => allow !== null));
  const firewall = { version: 1, ...(mirror === 'on' ? { host: { mirror } } : {}) };
  await writeFile(configFile, stringify({ ...file, peers, firewall }));
  await node.command('reload');
}

type Ground = Awaited<ReturnType<typeof eleven>>;

/** Each says the word on flows of their own; who was heard, by version. What `dropped` says was dropped, not lost on its way. */
async function heard(ground: Ground, word: string, dropped: readonly string[] = []): Promise<string[][]> {
  const { node, talkers, sockets } = ground;
  for (const { name, peer, session } of talkers) {
    const packets = VERSIONS.map((version) => {
      const from = peer.options.inside.own[version];
      return udpPacket(from, NODE[version], { sport: 5_000, dport: PORT }, Buffer.from(`${word} ${name}`));
    });
    const drops = await dropsOf(node);
    await peer.send(...packets.map((packet) => session.seal(packet)));
    const isHeard = () => words(sockets, word).every((one) => one.includes(name));
    const isDropped = async () => (await dropsOf(node)) >= drops + packets.length;
    await until(dropped.includes(name) ? isDropped : isHeard, 10_000, `${name}: ${word}`);
  }
  return words(sockets, word);
}

async function dropsOf(node: NodeProcess): Promise<number> {
  const { drops } = await node.status();
  return Object.values(drops).reduce((sum, count) => sum + Number(count), 0);
}

function words(sockets: readonly Socket[], word: string): string[][] {
  return sockets.map(({ received }) =>
    received
      .map((bytes) => String(bytes).split(' '))
      .flatMap(([said, name = '']) => (said === word ? [name] : [])),
  );
}

/** What was counted of the ten, and when they shook hands. */
async function notices(node: NodeProcess) {
  const { policy, peers } = await node.status();
  if (policy?.state !== 'enforced') throw new Error('no policy is enforced');
  const ups = OTHERS.map((name) => policy.accounts.find(({ peer }) => peer === name)?.up);
  return {
    packets: ups.map((up) => Number(up?.packets)),
    flows: ups.map((up) => Number(up?.flows)),
    handshakes: OTHERS.map((name) => peers.find((peer) => peer.name === name)?.latestHandshakeSeconds),
    denied: [...new Set(policy.denied.map(({ peer }) => peer))],
  };
}

/** The elements and rules of the host's table in which the one that changes does not occur. */
async function rulesOfOthers({ net, node }: Ground): Promise<string[]> {
  const { hostRules } = await node.status();
  if (hostRules === null) return [];
  const text = await net.right.exec('nft', ['list', 'table', 'inet', hostRules.table]);
  const parts = text
    .split(/[,\n]/)
    .map((part) => part.replaceAll(/[{}]|elements =|packets \d+ bytes \d+/g, '').trim());
  return parts.filter((part) => /attacker1\d|10\.9\.0\.1\d|fd09::1\d/.test(part)).toSorted();
}

test.each(['off', 'on'] as const)(
  'a peer whose name and address begin theirs changes and goes: ten others are heard on, on the flows they had (mirror: %s)',
  async (mirror) => {
    await using ground = await eleven(`ten-${mirror}`);
    const { node } = ground;
    await reload(node, mirror, GRANTED);
    const all = ['attacker', ...OTHERS];
    expect(await heard(ground, 'first')).toEqual([all, all]);
    const [before, rules] = [await notices(node), await rulesOfOthers(ground)];
    if (mirror === 'on') expect(rules.length).toBeGreaterThanOrEqual(2 * OTHERS.length);

    for (const [i, rows] of [REVOKED, null].entries()) {
      await reload(node, mirror, rows);
      expect(await heard(ground, `after-${i}`, ['attacker'])).toEqual([OTHERS, OTHERS]);
      expect(await rulesOfOthers(ground)).toEqual(rules);
      expect(await notices(node)).toMatchObject({
        packets: before.packets.map((packets) => packets + (i + 1) * VERSIONS.length),
        flows: before.flows,
        handshakes: before.handshakes,
      });
    }
    // Those who are there still are denied nothing: what was, was the one's.
    expect((await notices(node)).denied.filter((name) => OTHERS.includes(name ?? ''))).toEqual([]);
  },
);
