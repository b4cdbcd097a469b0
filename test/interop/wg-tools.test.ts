// `wg` and wg-quick as the system has them, unchanged: each command says of our interface what it says of wireguard-go's,
// and wg-quick brings a tunnel of ours up, saves it and takes it down.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BareInterface } from '../support/bare-interface.ts';
import { pairOf } from '../support/bare-pair.ts';
import { networkState } from '../support/host-state.ts';
import { generateKeyPair, generatePresharedKey, type KeyPair } from '../support/keys.ts';
import type { LineProcess } from '../support/line-process.ts';
import { OVERLAY, RINGFENCE, Scratch } from '../support/node-process.ts';
import { type Host, type Routed, routed } from '../support/topology.ts';
import { holdPort, ping } from '../support/traffic.ts';

type ExecResult = Awaited<ReturnType<Host['try']>>;

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

describe('wg says the same of both', () => {
  const OURS = 'wg-ours';
  const THEIRS = 'wg-theirs';
  const own = generateKeyPair();
  const [a, b, c] = [generateKeyPair(), generateKeyPair(), generateKeyPair()] as [KeyPair, KeyPair, KeyPair];
  const presharedKey = generatePresharedKey();
  let ours: BareInterface;
  let theirs: LineProcess;

  beforeAll(async () => {
    ours = await BareInterface.start(net.left, OURS);
    theirs = net.right.spawn('wireguard-go', ['-f', THEIRS], { env: { LOG_LEVEL: 'verbose' } });
    await theirs.line(/UAPI listener started/, 10_000);
    for (const [name, text] of [
      ['private', own.privateKey],
      ['preshared', presharedKey],
      ['empty', ''],
      ['bad', 'no key'],
    ] as const) {
      await writeFile(join(scratch.path, name), text, { mode: 0o600 });
    }
  });

  afterAll(async () => {
    await ours[Symbol.asyncDispose]();
    await theirs[Symbol.asyncDispose]();
  });

  /** The name of the interface for IFACE, the folder of files for FILES/. */
  async function wg(host: Host, name: string, words: string, input?: string): Promise<ExecResult> {
    const line = words.replaceAll('IFACE', name).replaceAll('FILES', scratch.path);
    return await host.try('sh', ['-c', input === undefined ? `wg ${line}` : `cat | wg ${line} /dev/stdin`], {
      ...(input === undefined ? {} : { input }),
    });
  }

  /** What a command says, but for the name of the interface; peers in one order. */
  function comparable({ code, stdout, stderr }: ExecResult, name: string) {
    // wireguard-go counts what it could not send, too.
    const text = (said: string): string =>
      said
        .replaceAll(name, 'IFACE')
        .replaceAll(/\n {2}transfer: .*/g, '')
        .replaceAll(/^((?:[^\t\n]*\t){5})\d+\t\d+\t/gm, '$1');
    const [first = '', ...peers] = text(stdout).split(/\n(?=\[Peer\]|peer: )/);
    // Without blocks of peers it is a list, or a dump.
    const lines =
      peers.length === 0
        ? first.split('\n').sort()
        : [first, ...peers.map((one) => one.trim()).sort()].flatMap((block) => block.split('\n'));
    return { code, stdout: lines.map(sortedIps), stderr: text(stderr) };
  }

  /** Which allowed IP comes first is left open. */
  function sortedIps(line: string): string {
    return line.replace(
      /(?<=(?:AllowedIPs = |allowed ips: |\t|^))[0-9a-f.:]+\/\d+(?:, ?[0-9a-f.:]+\/\d+)+/g,
      (list) => list.split(/, ?/).sort().join(','),
    );
  }

  async function expectSame(words: string, input?: string): Promise<ExecResult> {
    const [own, other] = await Promise.all([
      wg(net.left, OURS, words, input),
      wg(net.right, THEIRS, words, input),
    ]);
    expect(comparable(own, OURS), `wg ${words}`).toEqual(comparable(other, THEIRS));
    return own;
  }

  const SHOWN = ['show IFACE', 'show IFACE dump', 'showconf IFACE'].concat(
    [
      'public-key',
      'private-key',
      'listen-port',
      'fwmark',
      'peers',
      'preshared-keys',
      'endpoints',
      'allowed-ips',
    ]
      .concat(['latest-handshakes', 'persistent-keepalive'])
      .map((what) => `show IFACE ${what}`),
  );

  async function expectSameShown(): Promise<void> {
    for (const words of SHOWN) expect((await expectSame(words)).code).toBe(0);
  }

  const CONFIG = `[Interface]
PrivateKey = ${own.privateKey}
ListenPort = 51999
FwMark = 0x51
[Peer]
PublicKey = ${a.publicKey}
PresharedKey = ${presharedKey}
AllowedIPs = 10.9.0.2/32, 10.77.0.0/16, fd09::2/128
Endpoint = 192.0.2.99:51820
PersistentKeepalive = 25
[Peer]
PublicKey = ${b.publicKey}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = [2001:db8::99]:1
`;

  beforeEach(async () => {
    expect((await expectSame('setconf IFACE', CONFIG)).code).toBe(0);
  });

  test('setconf and every way to show it', async () => {
    await expectSameShown();
    expect((await wg(net.left, OURS, 'show IFACE')).stdout).not.toContain(own.privateKey);
  });

  test('addconf adds, syncconf makes the difference, setconf replaces', async () => {
    const more = `[Peer]\nPublicKey = ${c.publicKey}\nAllowedIPs = 10.77.0.0/16\n`;
    expect((await expectSame('addconf IFACE', more)).code).toBe(0);
    await expectSameShown();
    expect(
      (await expectSame('syncconf IFACE', CONFIG.replace('10.9.0.2/32, ', '').replace('0x51', 'off'))).code,
    ).toBe(0);
    await expectSameShown();
    expect((await expectSame('setconf IFACE', `[Interface]\nListenPort = 52000\n${more}`)).code).toBe(0);
    await expectSameShown();
  });

  test.each([
    'listen-port 52001',
    'fwmark 0x1234',
    'fwmark off',
    'private-key FILES/empty',
    'private-key FILES/private',
    `peer ${a.publicKey} remove`,
    `peer ${c.publicKey} remove`,
    `peer ${c.publicKey} allowed-ips 10.77.0.0/16,fd77::/48`,
    `peer ${a.publicKey} allowed-ips ''`,
    `peer ${a.publicKey} allowed-ips 10.9.0.2`,
    `peer ${a.publicKey} endpoint 192.0.2.98:1 persistent-keepalive off`,
    `peer ${a.publicKey} preshared-key FILES/empty`,
    `peer ${b.publicKey} preshared-key FILES/preshared persistent-keepalive 65535`,
    `peer ${own.publicKey} allowed-ips 10.0.0.0/8`,
    `listen-port 52002 private-key FILES/private peer ${a.publicKey} remove peer ${c.publicKey} allowed-ips ::/0`,
  ])('set IFACE %s', async (words) => {
    expect((await expectSame(`set IFACE ${words}`)).code).toBe(0);
    await expectSameShown();
  });

  test.each([
    'set IFACE colour blue',
    'set IFACE private-key FILES/bad',
    'set IFACE private-key FILES/none',
    'set IFACE peer tooshort remove',
    `set IFACE peer ${a.publicKey} allowed-ips 10.0.0.0/33`,
    'show wg-none',
    'set wg-none listen-port 1',
    'showconf wg-none',
  ])('%s fails in the same way', async (words) => {
    expect((await expectSame(words)).code).not.toBe(0);
    await expectSameShown();
  });

  test('show interfaces, and all of them at once', async () => {
    const { stdout } = await wg(net.left, OURS, 'show interfaces');
    expect(stdout.split(' ').sort()).toEqual([OURS, THEIRS]);
    for (const words of ['show', 'show all', 'show all dump', 'show all peers']) {
      const { code, stdout } = await wg(net.left, OURS, words);
      expect(code).toBe(0);
      expect(stdout).toContain(OURS);
    }
  });
});

describe('wg-quick', () => {
  const NAME = 'wgq-left';
  let config: string;
  let keys: { left: KeyPair; right: KeyPair };
  const env = { WG_QUICK_USERSPACE_IMPLEMENTATION: RINGFENCE };

  beforeEach(async () => {
    keys = { left: generateKeyPair(), right: generateKeyPair() };
    config = join(scratch.path, `${NAME}.conf`);
  });

  async function write(
    extra = '',
    allowedIps = `${OVERLAY.right.v4}/32, ${OVERLAY.right.v6}/128`,
  ): Promise<void> {
    const peer = `[Peer]\nPublicKey = ${keys.right.publicKey}\nAllowedIPs = ${allowedIps}\nEndpoint = ${net.right.v4}:51820\n`;
    const text = `[Interface]\nPrivateKey = ${keys.left.privateKey}\nAddress = ${OVERLAY.left.addresses.join(', ')}\n${extra}${peer}`;
    await writeFile(config, text, { mode: 0o600 });
  }

  afterEach(async () => {
    await net.left.try('wg-quick', ['down', config]); // of a test that failed half way
  });

  async function wgQuick(...args: readonly string[]): Promise<ExecResult> {
    return await net.left.try('wg-quick', args, { env });
  }

  test('up, a tunnel, save, down: the host is as before', async () => {
    const before = await networkState(net.left);
    await using right = await BareInterface.start(net.right, 'wgq-right');
    await pairOf(right, 'right', keys, { listenPort: 51820 });
    await write();
    const up = await wgQuick('up', config);
    expect(up, up.stderr).toMatchObject({ code: 0 });
    expect(up.stderr).toContain(`${RINGFENCE} ${NAME}`);
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    expect(await ping(net.left, OVERLAY.right.v6)).toMatchObject({ received: 3 });
    expect((await wgQuick('up', config)).code).toBe(1); // it is there already

    await net.left.exec('wg', ['set', NAME, 'listen-port', '51777']);
    const save = await wgQuick('save', config);
    expect(save, save.stderr).toMatchObject({ code: 0 });
    const saved = await readFile(config, 'utf8');
    expect(saved).toContain('ListenPort = 51777\n');
    expect(saved).toContain(`PrivateKey = ${keys.left.privateKey}\n`);
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    expect(await ping(net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });

    // A reload as units do it: sessions go on.
    const strip = `wg syncconf ${NAME} <(wg-quick strip ${config})`;
    await net.left.exec('bash', ['-c', strip]);
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });

    const down = await wgQuick('down', config);
    expect(down, down.stderr).toMatchObject({ code: 0 });
    expect(await networkState(net.left)).toBe(before);
  });

  test('a default route through the tunnel leaves the tunnel itself its way', async () => {
    const before = await networkState(net.left);
    await using right = await BareInterface.start(net.right, 'wgq-right');
    await pairOf(right, 'right', keys, { listenPort: 51820 });
    await write('', '0.0.0.0/0, ::/0');
    const up = await wgQuick('up', config);
    expect(up, up.stderr).toMatchObject({ code: 0 });
    expect(await net.left.exec('wg', ['show', NAME, 'fwmark'])).toBe('0xca6c');
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    expect(await net.left.exec('ip', ['route', 'get', '203.0.113.1'])).toContain(`dev ${NAME}`);
    const down = await wgQuick('down', config);
    expect(down, down.stderr).toMatchObject({ code: 0 });
    expect(await networkState(net.left)).toBe(before);
  });

  test('a port that is taken: 1, and nothing is left', async () => {
    const before = await networkState(net.left);
    await using _other = await holdPort(net.left, '::', 52_010);
    await write('ListenPort = 52010\n');
    const up = await wgQuick('up', config);
    expect(up).toMatchObject({ code: 1, stderr: expect.stringContaining('Address already in use') });
    expect(await networkState(net.left)).toBe(before);
  });
});
