// Killed at every write of a rotation, on either side, of a join and of a reload: after the restart both sides talk, each has one
// key or both, what was begun is finished without anybody asking, and a host is as the file says that the node finds.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { askNode } from '../../src/control/node-socket.ts';
import { until } from '../support/deadline.ts';
import { networkState } from '../support/host-state.ts';
import { generateKeyPair } from '../support/keys.ts';
import { KillAtWrite } from '../support/kill-at-write.ts';
import { NodeProcess, OVERLAY, RINGFENCE, Scratch, writeNode, writePair } from '../support/node-process.ts';
import { type Routed, routed } from '../support/topology.ts';
import { ping } from '../support/traffic.ts';

type End = 'left' | 'right';

/** More writes than a rotation has on one side: the last of these kills nobody. */
const MOST_WRITES = 40;

/** Two nodes that know each other, each of which may be killed at a write. */
class Pair implements AsyncDisposable {
  readonly #undo = new AsyncDisposableStack();
  readonly nodes = {} as Record<End, NodeProcess>;
  readonly killers = {} as Record<End, KillAtWrite>;
  #state = '';

  static async start(names: Record<End, string>): Promise<Pair> {
    const pair = new Pair();
    const scratch = pair.#undo.use(await Scratch.create());
    const net = pair.#undo.use(await routed(1500, names));
    pair.#state = scratch.path;
    const files = await writePair(scratch.path, {
      presharedKey: true,
      left: { host: net.left, addresses: OVERLAY.left.addresses },
      right: { host: net.right, addresses: OVERLAY.right.addresses },
    });
    for (const end of ['left', 'right'] as const) {
      const folder = join(scratch.path, `killer-${end}`);
      await mkdir(folder);
      pair.killers[end] = await KillAtWrite.build(folder);
      pair.nodes[end] = await NodeProcess.start(net[end], files[end], pair.#options(end));
      pair.#undo.defer(() => pair.nodes[end][Symbol.asyncDispose]());
    }
    return pair;
  }

  #options(end: End) {
    return { env: { RINGFENCE_STATE_DIR: join(this.#state, `state-${end}`), ...this.killers[end].env } };
  }

  /** Starts an end again that was killed. */
  async revive(end: End): Promise<void> {
    await this.killers[end].set(0);
    const { host, files } = this.nodes[end];
    this.nodes[end] = await NodeProcess.start(host, files, this.#options(end));
  }

  /** From the end that knows of no session that may still be good. */
  async talks(from: End): Promise<void> {
    const to = from === 'left' ? OVERLAY.right.v4 : OVERLAY.left.v4;
    const { host } = this.nodes[from];
    const answered = async () => (await ping(host, to, { count: 1, waitMs: 500 })).received === 1;
    await until(answered, 40_000, 'a ping');
  }

  async files(end: End): Promise<string[]> {
    return (await readdir(this.nodes[end].files.directory)).filter((name) =>
      /\.next$|(key|psk|next)\.new$/.test(name),
    );
  }

  async read(end: End, name: string): Promise<string> {
    return await readFile(join(this.nodes[end].files.directory, name), 'utf8');
  }

  /** Nothing is under way on either side, and both agree. */
  async isSettled(): Promise<boolean> {
    if ((await this.files('left')).length + (await this.files('right')).length > 0) return false;
    if ((await this.read('left', 'peer.psk')) !== (await this.read('right', 'peer.psk'))) return false;
    const { left, right } = this.nodes;
    const own = (await left.status()).interface.publicKey;
    const inFile = parse(await this.read('right', 'ringfence.yaml')).peers[left.host.name].public_key;
    return own === inFile && own === (await right.peer(left.host.name)).publicKey;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo.disposeAsync();
  }
}

describe.concurrent.each([
  { kind: 'psk', victim: 'left' },
  { kind: 'psk', victim: 'right' },
  { kind: 'identity', victim: 'left' },
  { kind: 'identity', victim: 'right' },
] as const)('rotate $kind', ({ kind, victim }) => {
  test(`${victim === 'left' ? 'who rotates' : 'the other side'} is killed at every write`, async () => {
    const tag = `${kind[0]}${victim[0]}`;
    await using pair = await Pair.start({ left: `k${tag}left`, right: `k${tag}right` });
    await pair.talks('left');
    let kills = 0;
    for (let write = 1; ; write++) {
      expect(write, 'more writes than a rotation has').toBeLessThan(MOST_WRITES);
      const { left } = pair.nodes;
      const doomed = pair.nodes[victim].process;
      const before = await pair.read('left', kind === 'psk' ? 'peer.psk' : 'node.key');
      await pair.killers[victim].set(write);
      const request =
        kind === 'psk'
          ? { request: 'rotate-psk', peer: pair.nodes.right.host.name }
          : { request: 'rotate-identity' };
      const asked = askNode(left.files.runDirectory, left.interfaceName, request).catch(() => null);
      await Promise.race([asked, doomed.exited]);
      const settled = until(() => pair.isSettled(), 60_000, 'both to be settled').catch((error) => error);
      await Promise.race([settled, doomed.exited]);
      if (!doomed.hasExited && (await pair.killers[victim].left()) > 0) {
        await pair.killers[victim].set(0);
        expect(await settled).not.toBeInstanceOf(Error);
        break;
      }
      await doomed.exited;
      kills += 1;
      await pair.revive(victim);
      await pair.talks(victim);
      await until(() => pair.isSettled(), 60_000, `both to be settled after a kill at write ${write}`);
      await pair.talks(victim);
      // Killed before the new key was on disk, nothing was begun; from then on it is finished. The count comes first: four writes.
      const after = await pair.read('left', kind === 'psk' ? 'peer.psk' : 'node.key');
      if (write > 9 && victim === 'left') expect(after, `killed at write ${write}`).not.toBe(before);
    }
    expect(kills, 'kills').toBeGreaterThan(6);
  }, 180_000);
});

/** A node that invites, and machines that join, each of which may be killed at a write. */
class Host implements AsyncDisposable {
  readonly #undo: AsyncDisposableStack;
  readonly #path: string;
  readonly #net: Routed;
  readonly killer: KillAtWrite;
  left: NodeProcess;

  private constructor(
    undo: AsyncDisposableStack,
    path: string,
    net: Routed,
    killer: KillAtWrite,
    left: NodeProcess,
  ) {
    this.#undo = undo;
    this.#path = path;
    this.#net = net;
    this.killer = killer;
    this.left = left;
  }

  /** @param doomed whose writes the killer counts */
  static async start(doomed: 'host' | 'guest', names: Record<End, string>): Promise<Host> {
    await using undo = new AsyncDisposableStack();
    const scratch = undo.use(await Scratch.create());
    const net = undo.use(await routed(1500, names));
    const killer = await KillAtWrite.build(scratch.path);
    const files = await writeNode(join(scratch.path, 'left'), generateKeyPair(), {
      interface: {
        name: `rf-${names.left}`,
        private_key_file: 'node.key',
        addresses: OVERLAY.left.addresses,
        listen_port: 51820,
      },
      peers: {},
    });
    const env = {
      RINGFENCE_STATE_DIR: join(scratch.path, 'left-state'),
      ...(doomed === 'host' ? killer.env : {}),
    };
    const left = await NodeProcess.start(net.left, files, { env });
    const host: Host = new Host(undo.move(), scratch.path, net, killer, left);
    host.#undo.defer(() => host.left[Symbol.asyncDispose]());
    return host;
  }

  async revive(): Promise<void> {
    await this.killer.set(0);
    const env = { RINGFENCE_STATE_DIR: join(this.#path, 'left-state'), ...this.killer.env };
    this.left = await NodeProcess.start(this.#net.left, this.left.files, { env });
  }

  async invite(name: string): Promise<string> {
    const file = join(this.#path, `${name}.yaml`);
    await this.left.command('invite', name, '--file', file);
    return file;
  }

  /** `ringfence join`, without starting the node. */
  async joining(name: string, invite: string, env: Readonly<Record<string, string>> = {}) {
    const path = join(this.#path, name);
    await mkdir(path, { recursive: true });
    const own = { RINGFENCE_RUN_DIR: join(path, 'run'), RINGFENCE_STATE_DIR: join(path, 'state') };
    const args = ['join', invite, '--file', join(path, 'r.yaml'), '--name', this.#net.right.name, '--no-up'];
    return await this.#net.right.try(RINGFENCE, args, { env: { ...own, ...env }, timeoutMs: 60_000 });
  }

  /** The node and its file know this peer, by one key. */
  async hasTakenIn(name: string): Promise<void> {
    const { peers } = parse(await readFile(this.left.files.configFile, 'utf8'));
    expect(Object.keys(peers)).toContain(name);
    expect((await this.left.peer(name)).publicKey).toBe(peers[name].public_key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo.disposeAsync();
  }
}

describe.concurrent('join', () => {
  test('who invites is killed at every write', async () => {
    await using host = await Host.start('host', { left: 'kjleft', right: 'kjright' });
    for (let write = 1, isKilled = true; isKilled; write++) {
      expect(write).toBeLessThan(MOST_WRITES);
      const name = `guest${write}`;
      const file = await host.invite(name);
      await host.killer.set(write);
      const doomed = host.left.process;
      const first = host.joining(name, file);
      await Promise.race([first, doomed.exited]);
      isKilled = doomed.hasExited || (await host.killer.left()) === 0;
      if (isKilled) {
        await doomed.exited;
        await host.revive();
      } else expect(write, 'fewer writes than a join has').toBeGreaterThan(6);
      await host.killer.set(0);
      const outcome = await first;
      if (outcome.code !== 0) {
        const again = await host.joining(name, file);
        expect(again.code, `${write}: ${outcome.stderr}; ${again.stderr}`).toBe(0);
      }
      await host.hasTakenIn(name);
    }
  }, 180_000);

  test('who joins is killed at every write', async () => {
    await using host = await Host.start('guest', { left: 'kgleft', right: 'kgright' });
    for (let write = 1, isLast = false; !isLast; write++) {
      expect(write).toBeLessThan(MOST_WRITES);
      const name = `guest${write}`;
      const file = await host.invite(name);
      await host.killer.set(write);
      isLast = (await host.joining(name, file, host.killer.env)).code === 0;
      const again = await host.joining(name, file);
      // Where its file was there already, it had joined.
      if (again.code !== 0) expect(again.stderr).toContain('ERR_FILE_EXISTS');
      await host.hasTakenIn(name);
      if (isLast) expect(write, 'fewer writes than a join has').toBeGreaterThan(4);
    }
  }, 180_000);
});

/** What a reload changes of a host: addresses, routes, a default route with its rules and tables, the MTU. */
function reloadable(peer: string, isOther: boolean) {
  return {
    interface: {
      name: 'rf-kreload',
      private_key_file: 'node.key',
      addresses: isOther ? ['10.9.0.1/24', '10.44.0.1/16'] : OVERLAY.left.addresses,
      listen_port: isOther ? 51_821 : 51_820,
      mtu: isOther ? 1_300 : 1_400,
    },
    peers: {
      far: {
        public_key: peer,
        addresses: ['10.9.0.2'],
        routes: isOther ? ['0.0.0.0/0', '10.78.0.0/16'] : ['10.77.0.0/16'],
        endpoints: ['192.0.2.7:51820'],
      },
    },
  };
}

test('a reload is killed at every write and before every command it runs: the host is as the file says afterwards', async () => {
  await using scratch = await Scratch.create();
  await using net = await routed(1500, { left: 'kreload', right: 'kidle' });
  const host = net.left;
  const killer = await KillAtWrite.build(scratch.path);
  const far = generateKeyPair().publicKey;
  const files = await writeNode(join(scratch.path, 'node'), generateKeyPair(), reloadable(far, false));
  const write = (isOther: boolean) => writeFile(files.configFile, stringify(reloadable(far, isOther)));
  const env = { RINGFENCE_STATE_DIR: join(scratch.path, 'state'), ...killer.env };
  const start = () => NodeProcess.start(host, files, { env });
  await host.sysctl({ 'net.ipv6.conf.default.addr_gen_mode': 1 }); // no link-local address by chance
  /** An interface that is made anew has another number. */
  const hostState = async () => (await networkState(host)).replace(/"ifindex":\d+/g, '');
  const untouched = await hostState();
  /** Of a node that was never killed. */
  const wanted = new Map<boolean, string>();
  for (const isOther of [true, false]) {
    await write(isOther);
    await using node = await start();
    wanted.set(isOther, await hostState());
    await node.stop();
  }
  let kills = 0;
  for (let count = 1, isLast = false; !isLast; count++) {
    expect(count).toBeLessThan(MOST_WRITES);
    const isOther = count % 2 === 1;
    await write(!isOther);
    const node = await start();
    await write(isOther);
    await killer.set(count);
    const asked = askNode(files.runDirectory, node.interfaceName, { request: 'reload' }).catch(() => null);
    await Promise.race([asked, node.process.exited]);
    isLast = (await killer.left()) > 0;
    await killer.set(0);
    if (!isLast) {
      await node.process.exited;
      kills += 1;
    }
    await using again = isLast ? node : await start();
    expect(await hostState(), `killed at ${count}`).toBe(wanted.get(isOther));
    expect((await again.status()).interface).toMatchObject({ mtu: isOther ? 1_300 : 1_400 });
    await again.stop();
    expect(await hostState(), `stopped after ${count}`).toBe(untouched);
  }
  expect(kills).toBeGreaterThan(8);
}, 180_000);
