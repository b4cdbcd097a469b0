// `npm run demo`: two real nodes from two YAML files, in namespaces that vanish with the demo, and what goes through the
// tunnel between them. Every line says what was seen, not what was meant; the exit status is 0 only when all of it held.
//
//   alice ── 192.0.2.0/24, 2001:db8:1::/64 ── internet ── 198.51.100.0/24, 2001:db8:2::/64 ── bob
//   10.9.0.1, fd09::1  ═══════════════════════════ the tunnel ═══════════════════════════  10.9.0.2, fd09::2

import { writeFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { stringify } from 'yaml';
import { until } from '../test/support/deadline.ts';
import { type NodeFiles, NodeProcess, OVERLAY, Scratch, writePair } from '../test/support/node-process.ts';
import { type Host, routed } from '../test/support/topology.ts';
import { measureTcp, ping, transferTcp } from '../test/support/traffic.ts';
import { isInNamespace, runInNamespace, tunObstacle } from './namespace.ts';
import { paint, print } from './report.ts';

const FILE_BYTES = 16 * 1024 * 1024;
const THROUGHPUT_SECONDS = 3;
/** An overlay address that neither node has in its file. */
const STRANGER = '10.66.0.66';
/** Where bob's policy lets nobody in. */
const DENIED_PORT = 22;

/** A line per step, with the time since the start. */
class Story {
  readonly #began = performance.now();

  get seconds(): string {
    return ((performance.now() - this.#began) / 1000).toFixed(1);
  }

  tell(text: string, detail = ''): void {
    print(
      `${paint('dim', `${this.seconds.padStart(5)} s`)}  ${text}${detail === '' ? '' : `  ${paint('dim', detail)}`}`,
    );
  }

  /** Tells `text` when `holds`; otherwise the demo has failed. */
  expect(holds: boolean, text: string, detail = ''): void {
    if (!holds) throw new Error(`${text} ${detail}`);
    this.tell(`${paint('green', '✓')} ${text}`, detail);
  }
}

/** How many IPv4 pings the kernel of `host` has been given. */
async function echoRequestsReceived(host: Host): Promise<number> {
  const [names = [], values = []] = (await host.exec('cat', ['/proc/net/snmp']))
    .split('\n')
    .filter((line) => line.startsWith('Icmp:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('InEchos')]);
}

/** The reasons for which a node has dropped packets so far. */
async function dropsOf(node: NodeProcess): Promise<string> {
  const { drops } = await node.status();
  const counted = Object.entries(drops).filter(([, count]) => count !== '0');
  return counted.map(([reason, count]) => `${reason} ${count}`).join(', ');
}

/** A policy for bob: alice may reach all of bob but one port. */
async function writePolicy({ configFile, file }: NodeFiles): Promise<void> {
  const { alice } = file.peers;
  const rights = { allow: [{ to: 'self' }], deny: [{ to: 'self', ports: [`tcp/${DENIED_PORT}`] }] };
  const firewall = { version: 1, action: 'reject' };
  await writeFile(configFile, stringify({ ...file, peers: { alice: { ...alice, ...rights } }, firewall }));
}

/** What a node has denied, by the row of its file. */
async function denialOf(node: NodeProcess, files: NodeFiles): Promise<string | undefined> {
  const { policy } = await node.status();
  if (policy?.state !== 'enforced') return undefined;
  const [first] = policy.denied;
  if (first === undefined) return undefined;
  const place = first.place?.replace(files.configFile, 'ringfence.yaml');
  return `${first.packets} packet of ${first.peer} denied by ${first.rule}, ${place}`;
}

async function tellStory(story: Story): Promise<void> {
  await using scratch = await Scratch.create('ringfence-demo-');
  await using net = await routed(1500, { left: 'alice', right: 'bob' });
  const { left: alice, right: bob } = net;
  story.tell('three namespaces: alice ── internet ── bob', `${alice.v4}, ${bob.v4}`);

  const files = await writePair(scratch.path, {
    left: { host: alice, addresses: OVERLAY.left.addresses },
    right: { host: bob, addresses: OVERLAY.right.addresses },
    presharedKey: true,
  });
  await writePolicy(files.right);
  const names = [files.left, files.right].map(({ configFile }) => relative(scratch.path, configFile));
  story.tell(
    'two YAML files, with keys of their own, a preshared key, and a policy in one of them',
    names.join(', '),
  );

  const started: NodeProcess[] = [];
  try {
    await using aliceNode = await NodeProcess.start(alice, files.left);
    started.push(aliceNode);
    await using bobNode = await NodeProcess.start(bob, files.right);
    started.push(bobNode);
    story.expect(
      true,
      'both nodes are ready',
      `ringfence run ringfence.yaml, pids ${aliceNode.process.pid} and ${bobNode.process.pid}`,
    );

    const first = await ping(alice, OVERLAY.right.v4, { count: 1, waitMs: 5_000 });
    story.expect(
      first.received === 1,
      'the first ping made the handshake and got its answer',
      `${first.rttsMs[0]} ms`,
    );
    const peer = await until(
      async () => {
        const status = await aliceNode.peer('bob');
        return status.latestHandshakeSeconds === null ? undefined : status;
      },
      5_000,
      'a handshake in the status',
    );
    story.expect(
      true,
      `alice's status knows it`,
      `bob at ${peer.endpoint}, ${new Date((peer.latestHandshakeSeconds ?? 0) * 1000).toISOString()}`,
    );

    for (const address of [OVERLAY.right.v4, OVERLAY.right.v6]) {
      const { sent, received, rttsMs } = await ping(alice, address, { count: 10 });
      const median = [...rttsMs].sort((a, b) => a - b)[Math.floor(rttsMs.length / 2)];
      story.expect(
        received === sent,
        `ping ${address}: ${received} of ${sent} answered`,
        `median ${median} ms`,
      );
    }

    const { sent, received } = await transferTcp(alice, bob, OVERLAY.right.v6, FILE_BYTES);
    story.expect(
      sent.sha256 === received.sha256 && received.bytes === FILE_BYTES,
      `${FILE_BYTES / 1024 / 1024} MiB arrived as they were sent`,
      `SHA-256 ${sent.sha256.slice(0, 16)}… here, ${received.sha256.slice(0, 16)}… there`,
    );

    // The route lets bob's kernel take the packet, were it to arrive: that it does not is the node's doing. Two pings in
    // one tunnel arrive in order, so once the second is answered the first has been judged.
    await alice.ip('address', 'add', `${STRANGER}/32`, 'dev', files.left.file.interface.name);
    await bob.ip('route', 'add', `${STRANGER}/32`, 'dev', files.right.file.interface.name);
    const before = await echoRequestsReceived(bob);
    await alice.try('ping', ['-n', '-c', '1', '-W', '0.1', '-I', STRANGER, OVERLAY.right.v4]);
    const proper = await ping(alice, OVERLAY.right.v4, { count: 1 });
    const arrived = (await echoRequestsReceived(bob)) - before;
    story.expect(
      proper.received === 1 && arrived === 1,
      `a ping from ${STRANGER}, which is not alice's address, is dropped`,
      `of two pings bob's kernel saw ${arrived}; bob counts ${await dropsOf(bobNode)}`,
    );

    const knock = await alice.try('bash', ['-c', `: </dev/tcp/${OVERLAY.right.v4}/${DENIED_PORT}`]);
    const denial = await until(() => denialOf(bobNode, files.right), 5_000, 'a denied packet in the status');
    story.expect(
      knock.code !== 0,
      `bob's policy refuses alice its port ${DENIED_PORT}, and bob's status says which row does`,
      denial,
    );

    const speed = await measureTcp(alice, bob, OVERLAY.right.v4, THROUGHPUT_SECONDS);
    story.expect(
      speed.bytes > 0,
      `one TCP stream for ${THROUGHPUT_SECONDS} s: ${(speed.bitsPerSecond / 1e9).toFixed(2)} Gbit/s`,
      `${speed.tool}, both nodes and both ends of the stream on this machine`,
    );

    print();
    print((await aliceNode.command('status')).replace(/^/gm, '   '));
    print();

    const exits = await Promise.all([aliceNode.stop(), bobNode.stop()]);
    story.expect(
      exits.every((exit) => exit.code === 0),
      'both nodes ended cleanly',
    );
  } catch (error) {
    for (const node of started) {
      print(`\n${paint('bold', `${node.host.name} said:`)}`);
      for (const line of node.process.lines.slice(-20)) print(`   ${line.text}`);
    }
    throw error;
  }
}

async function main(): Promise<number> {
  const obstacle = await tunObstacle();
  if (obstacle !== undefined) {
    process.stderr.write(`demo: ${obstacle}\n`);
    return 1;
  }
  if (!isInNamespace()) return await runInNamespace('scripts/demo.ts', []);
  const story = new Story();
  try {
    await tellStory(story);
    story.tell(paint('bold', `all of it held`), 'the namespaces and the files are gone');
    return 0;
  } catch (error) {
    print(`${paint('red', '✗')} ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

process.exitCode = await main();
