// `ringfence [-f] IFACE`: the contract of a userspace WireGuard. When it returns, what it leaves in the environment, what
// ends it, and that the interface may change under it.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BareInterface, uapiSocket } from '../support/bare-interface.ts';
import { pairOf } from '../support/bare-pair.ts';
import { until, within } from '../support/deadline.ts';
import { networkState } from '../support/host-state.ts';
import { generateKeyPair } from '../support/keys.ts';
import { OVERLAY, RINGFENCE, Scratch } from '../support/node-process.ts';
import { type Host, type Routed, routed } from '../support/topology.ts';
import { ping, transferTcp } from '../support/traffic.ts';

let net: Routed;
let scratch: Scratch;

beforeAll(async () => {
  scratch = await Scratch.create();
  net = await routed();
});

afterAll(async () => {
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

const NAME = 'bare0';

/** Waits until nothing of the interface is left, as after its end. */
async function gone(name = NAME): Promise<void> {
  await until(async () => !existsSync(uapiSocket(name)), 10_000, `the end of ${name}`);
  await until(async () => !(await networkState(net.left)).includes(`"${name}"`), 5_000, `${name} gone`);
}

describe('in the background', () => {
  test('it returns 0 when interface and socket are there, and lets go of its output', async () => {
    const before = await networkState(net.left);
    // `try` reads both outputs to their end: a background process that kept them would hold it up.
    const { code, stdout, stderr } = await net.left.try(RINGFENCE, [NAME]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
    const link = JSON.parse(await net.left.ip('-json', 'link', 'show', NAME)) as {
      mtu: number;
      flags: string[];
    }[];
    expect(link[0]?.mtu).toBe(1420);
    expect(link[0]?.flags).not.toContain('UP');
    expect((statSync(uapiSocket(NAME)).mode & 0o777).toString(8)).toBe('700');
    expect((statSync('/var/run/wireguard').mode & 0o777).toString(8)).toBe('755');
    expect(await net.left.exec('wg', ['show', NAME])).toMatch(/^interface: bare0\n {2}listening port: \d+$/);
    await net.left.ip('link', 'del', NAME);
    await gone();
    expect(await networkState(net.left)).toBe(before);
  });

  test('a second one is refused with 1 and the reason, and the first goes on', async () => {
    await net.left.exec(RINGFENCE, [NAME]);
    const { code, stderr } = await net.left.try(RINGFENCE, [NAME]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ringfence: another program serves bare0.*\(ERR_NODE_INTERFACE\)$/m);
    await net.left.exec('wg', ['set', NAME, 'listen-port', '51999']);
    await net.left.ip('link', 'del', NAME);
    await gone();
  });

  test('without the right to make an interface: 1, the reason, and nothing is left', async () => {
    const args = ['--bounding-set=-net_admin', RINGFENCE, NAME];
    const { code, stderr } = await net.left.try('setpriv', args);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ringfence: not permitted to make the interface bare0 \(ERR_NODE_PRIVILEGE\)$/m);
    expect(existsSync(uapiSocket(NAME))).toBe(false);
  });

  test('a stale socket is replaced', async () => {
    await using first = await BareInterface.start(net.left, NAME);
    await first.process.stop('SIGKILL');
    expect(existsSync(uapiSocket(NAME))).toBe(true);
    await net.left.exec(RINGFENCE, [NAME]);
    await net.left.exec('wg', ['show', NAME]);
    await net.left.ip('link', 'del', NAME);
    await gone();
  });

  test('what is mistyped is no interface, and -f makes one of it', async () => {
    const { code, stderr } = await net.left.try(RINGFENCE, ['statsu']);
    expect({ code, stderr: stderr.split('\n')[0] }).toEqual({
      code: 2,
      stderr: "ringfence: unknown command 'statsu' (ERR_USAGE)",
    });
    await using status = await BareInterface.start(net.left, 'status');
    expect(await status.wg('show', 'interfaces')).toContain('status');
  });
});

describe('the environment', () => {
  test('WG_PROCESS_FOREGROUND=1 is -f; LOG_LEVEL decides what it says', async () => {
    const env = { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'verbose' };
    await using loud = net.left.spawn(RINGFENCE, [NAME], { env });
    await loud.line(/bare0 is ready/, 20_000);
    await loud.stop();
    await using silent = net.left.spawn(RINGFENCE, ['--foreground', NAME], { env: { LOG_LEVEL: '' } });
    await until(() => existsSync(uapiSocket(NAME)), 20_000, 'the socket');
    expect(await silent.stop()).toEqual({ code: 0, signal: undefined });
    expect(silent.output).toBe('');
  });

  test('WG_TUN_NAME_FILE gets the name', async () => {
    const file = join(scratch.path, 'name');
    await using _made = await BareInterface.start(net.left, NAME, { WG_TUN_NAME_FILE: file });
    expect(readFileSync(file, 'utf8')).toBe('bare0\n');
  });

  test('WG_UAPI_FD and WG_TUN_FD are taken, in the background too, whatever name is given', async () => {
    const program = join(scratch.path, 'pass.py');
    const script = `
import fcntl, os, socket, struct, sys
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH', b'given0', 0x1001)) # TUNSETIFF, IFF_TUN | IFF_NO_PI
os.makedirs('/var/run/wireguard', exist_ok=True)
uapi = socket.socket(socket.AF_UNIX)
uapi.bind('/var/run/wireguard/given0.sock')
uapi.listen()
for fd in (tun, uapi.fileno()): os.set_inheritable(fd, True)
os.environ.update(WG_TUN_FD=str(tun), WG_UAPI_FD=str(uapi.fileno()))
os.execv(sys.argv[1], [sys.argv[1], 'given0'])
`;
    await net.left.exec('sh', ['-c', `cat > ${program}`], { input: script });
    const { code, stdout, stderr } = await net.left.try('python3', [program, RINGFENCE]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
    await using right = await BareInterface.start(net.right, 'bare1');
    await connectPair('given0', right);
    // No offloads and no header: an interface as any program opens it.
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    const { sent, received } = await transferTcp(net.left, net.right, OVERLAY.right.v6, 1024 * 1024);
    expect(received.sha256).toBe(sent.sha256);
    await net.left.ip('link', 'del', 'given0');
    await until(async () => (await net.left.try('wg', ['show', 'given0'])).code !== 0, 10_000, 'its end');
  });
});

/** An interface on the left and one on the right that know each other. */
async function connectPair(left: string, right: BareInterface): Promise<void> {
  const keys = { left: generateKeyPair(), right: generateKeyPair() };
  const at = (host: Host): string => `${host.v4}:51820`;
  await pairOf({ host: net.left, name: left }, 'left', keys, { listenPort: 51820, endpoint: at(net.right) });
  await pairOf(right, 'right', keys, { listenPort: 51820, endpoint: at(net.left) });
}

describe('the end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('%s: 0, and nothing is left', async (signal) => {
    const before = await networkState(net.left);
    await using made = await BareInterface.start(net.left, NAME);
    expect(await made.process.stop(signal, 5_000)).toEqual({ code: 0, signal: undefined });
    expect(existsSync(uapiSocket(NAME))).toBe(false);
    expect(await networkState(net.left)).toBe(before);
  });

  test('the socket is removed', async () => {
    await using made = await BareInterface.start(net.left, NAME);
    await execa('rm', [uapiSocket(NAME)]);
    expect(await within(made.process.exited, 10_000, 'the end')).toEqual({ code: 0, signal: undefined });
    await gone();
  });

  test('the interface is deleted', async () => {
    await using made = await BareInterface.start(net.left, NAME);
    await net.left.ip('link', 'del', NAME);
    expect(await within(made.process.exited, 10_000, 'the end')).toEqual({ code: 0, signal: undefined });
    await gone();
  });

  test('the namespace that the interface was moved to is deleted', async () => {
    await execa('ip', ['netns', 'add', 'elsewhere']);
    await using made = await BareInterface.start(net.left, NAME);
    await net.left.ip('link', 'set', NAME, 'netns', 'elsewhere');
    await execa('ip', ['netns', 'delete', 'elsewhere']);
    expect(await within(made.process.exited, 10_000, 'the end')).toEqual({ code: 0, signal: undefined });
    await gone();
  });
});

describe('the interface changes', () => {
  test('it is moved to another namespace: traffic goes on, through the sockets where it was born', async () => {
    await using left = await BareInterface.start(net.left, 'bare0');
    await using right = await BareInterface.start(net.right, 'bare1');
    const inside = await net.topology.host('inside');
    await connectPair(left.name, right);
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    await net.left.ip('link', 'set', 'bare0', 'netns', inside.namespace);
    await inside.ipBatch(
      ...OVERLAY.left.addresses.map((address) => `address add ${address} dev bare0`),
      'link set bare0 up',
    );
    await until(
      async () => (await ping(inside, OVERLAY.right.v4, { count: 1 })).received === 1,
      10_000,
      'a ping',
    );
    expect(await ping(net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });
    // And the port is still changed where the sockets are.
    await left.wg('set', 'bare0', 'listen-port', '51999');
    expect(await net.left.exec('ss', ['-uln'])).toContain(':51999');
    expect(await ping(inside, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    // Its MTU is noticed there, too.
    await inside.ip('link', 'set', 'bare0', 'mtu', '1300');
    await until(async () => (await status(left)).includes('MTU 1300'), 10_000, 'the MTU');
  });

  test('it goes down and up ten times, and its MTU changes: traffic each time', async () => {
    await using left = await BareInterface.start(net.left, 'bare0');
    await using right = await BareInterface.start(net.right, 'bare1');
    await connectPair(left.name, right);
    for (let round = 0; round < 10; round++) {
      await net.left.ip('link', 'set', 'bare0', 'down');
      expect((await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 })).received).toBe(0);
      await net.left.ip('link', 'set', 'bare0', 'up');
      await until(
        async () => (await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 500 })).received === 1,
        10_000,
        `a ping in round ${round}`,
      );
    }
    for (const mtu of [576, 1280, 9000, 1420]) {
      for (const [host, name] of [
        [net.left, 'bare0'],
        [net.right, 'bare1'],
      ] as const)
        await host.ip('link', 'set', name, 'mtu', `${mtu}`);
      await until(async () => (await status(left)).includes(`MTU ${mtu},`), 5_000, `MTU ${mtu}`);
      expect(await ping(net.left, OVERLAY.right.v4, { sizeBytes: mtu - 28 }), `MTU ${mtu}`).toMatchObject({
        received: 3,
      });
    }
  });

  async function status(made: BareInterface): Promise<string> {
    return await made.host.exec(RINGFENCE, ['status', made.name]);
  }
});
