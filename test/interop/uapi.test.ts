// The same requests to our socket and to wireguard-go's: the same answers, also to what is wrong.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { answer, ask, BareInterface, dial } from '../support/bare-interface.ts';
import type { LineProcess } from '../support/line-process.ts';
import { type Direct, direct } from '../support/topology.ts';
import { holdPort } from '../support/traffic.ts';

const OURS = 'uapi-ours';
const THEIRS = 'uapi-theirs';

const PRIVATE_KEY = '087ec6e14bbed210e7215cdc73468dfa23f080a1bfb8665b2fd809bd99d28379';
/** Of the private key. */
const OWN_KEY = 'c4c8e984c5322c8184c72265b92b250fdb63688705f504ba003c88f03393cf28';
const A = 'b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33';
const B = '58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376';
const PSK = '188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52';
const ZEROS = '0'.repeat(64);

let net: Direct;
let ours: BareInterface;
let theirs: LineProcess;

beforeAll(async () => {
  net = await direct();
  ours = await BareInterface.start(net.left, OURS);
  theirs = net.right.spawn('wireguard-go', ['-f', THEIRS], { env: { LOG_LEVEL: 'verbose' } });
  await theirs.line(/UAPI listener started/, 10_000);
  await net.left.ip('link', 'set', OURS, 'up');
  await net.right.ip('link', 'set', THEIRS, 'up');
});

afterAll(async () => {
  await ours[Symbol.asyncDispose]();
  await theirs[Symbol.asyncDispose]();
  await net[Symbol.asyncDispose]();
});

/** Without the port that was any, and with peers and their prefixes in one order: that is left open. */
function comparable(answer: string): string[] {
  const [, body = '', end = ''] = /^(.*?)(errno=.*)$/s.exec(answer.replace(/listen_port=\d+\n/, '')) ?? [];
  const blocks = body.split(/(?=^public_key=)/m).filter((block) => block !== '');
  return [...blocks.map((block) => block.split('\n').sort().join('\n')).sort(), end];
}

async function both(request: string): Promise<[string, string]> {
  return await Promise.all([ask(OURS, request), ask(THEIRS, request)]);
}

async function expectSame(request: string): Promise<string> {
  const [own, other] = await both(request);
  expect(comparable(own), request).toEqual(comparable(other));
  return own;
}

const set = (...lines: readonly string[]): string => `set=1\n${lines.map((line) => `${line}\n`).join('')}\n`;
const GET = 'get=1\n\n';

beforeEach(async () => {
  await expectSame(set(`private_key=${ZEROS}`, 'fwmark=0', 'replace_peers=true'));
});

describe('what is set is what is got, as from wireguard-go', () => {
  const peer = (key: string, ...lines: readonly string[]) => [`public_key=${key}`, ...lines];
  test.each<{ name: string; requests: readonly (readonly string[])[] }>([
    { name: 'nothing', requests: [[]] },
    { name: 'a private key', requests: [[`private_key=${PRIVATE_KEY}`]] },
    { name: 'a private key that is not clamped', requests: [[`private_key=${'f'.repeat(64)}`]] },
    { name: 'a key in capitals', requests: [[`private_key=${PRIVATE_KEY.toUpperCase()}`]] },
    { name: 'a mark', requests: [['fwmark=51820'], ['fwmark=0']] },
    { name: 'a peer', requests: [peer(A)] },
    {
      name: 'all of a peer',
      requests: [
        peer(
          A,
          `preshared_key=${PSK}`,
          'endpoint=192.0.2.1:51820',
          'persistent_keepalive_interval=0',
          'replace_allowed_ips=true',
          'allowed_ip=10.9.0.0/24',
          'allowed_ip=fd09::/64',
          'allowed_ip=0.0.0.0/0',
          'allowed_ip=::/0',
          'protocol_version=1',
        ),
      ],
    },
    { name: 'an endpoint over IPv6', requests: [peer(A, 'endpoint=[2001:db8::0001]:1')] },
    { name: 'an allowed IP with bits beyond its length', requests: [peer(A, 'allowed_ip=10.9.0.77/24')] },
    {
      name: 'an allowed IP that moves',
      requests: [peer(A, 'allowed_ip=10.0.0.0/8'), peer(B, 'allowed_ip=10.0.0.0/8')],
    },
    {
      name: 'an allowed IP that moves within a request',
      requests: [[...peer(A, 'allowed_ip=10.0.0.0/8'), ...peer(B, 'allowed_ip=10.0.0.0/8')]],
    },
    {
      name: 'allowed IPs replaced',
      requests: [
        peer(A, 'allowed_ip=10.0.0.0/8'),
        peer(A, 'replace_allowed_ips=true', 'allowed_ip=10.0.0.0/9'),
      ],
    },
    {
      name: 'allowed IPs cleared after they were given',
      requests: [peer(A, 'allowed_ip=10.0.0.0/8', 'replace_allowed_ips=true')],
    },
    {
      name: 'a preshared key taken away',
      requests: [peer(A, `preshared_key=${PSK}`), peer(A, `preshared_key=${ZEROS}`)],
    },
    { name: 'a peer removed', requests: [[...peer(A), ...peer(B)], peer(A, 'remove=true')] },
    { name: 'a peer removed that is not there', requests: [peer(A, 'remove=true')] },
    {
      name: 'what follows a removal is ignored',
      requests: [peer(A, 'remove=true', 'allowed_ip=10.0.0.0/8')],
    },
    {
      name: 'an update of a peer that is not there',
      requests: [peer(A, 'update_only=true', 'allowed_ip=10.0.0.0/8')],
    },
    {
      name: 'an update of a peer that is there',
      requests: [peer(A), peer(A, 'update_only=true', 'allowed_ip=10.0.0.0/8')],
    },
    {
      name: 'peers replaced',
      requests: [peer(A, 'allowed_ip=10.0.0.0/8'), ['replace_peers=true', ...peer(B)]],
    },
    {
      name: 'a peer twice in a request',
      requests: [[...peer(A, 'allowed_ip=10.0.0.0/8'), ...peer(A, 'allowed_ip=10.1.0.0/16')]],
    },
    {
      name: 'a peer with our own key',
      requests: [[`private_key=${PRIVATE_KEY}`, ...peer(OWN_KEY, 'allowed_ip=10.0.0.0/8')]],
    },
    {
      name: 'our own key, once a peer had it',
      requests: [peer(OWN_KEY, 'allowed_ip=10.0.0.0/8'), [`private_key=${PRIVATE_KEY}`]],
    },
    {
      name: 'the private key taken away',
      requests: [[`private_key=${PRIVATE_KEY}`, ...peer(A)], [`private_key=${ZEROS}`]],
    },
    {
      name: 'a peer of low order',
      requests: [[`private_key=${PRIVATE_KEY}`, ...peer(`01${'0'.repeat(62)}`, 'allowed_ip=10.0.0.0/8')]],
    },
  ])('$name', async ({ requests }) => {
    for (const lines of requests) expect(await expectSame(set(...lines))).toBe('errno=0\n\n');
    await expectSame(GET);
  });

  test('a port, and any port', async () => {
    expect(await expectSame(set('listen_port=51999'))).toBe('errno=0\n\n');
    const [own, other] = await both(GET);
    expect(own).toContain('listen_port=51999\n');
    expect(other).toContain('listen_port=51999\n');
    expect(await expectSame(set('listen_port=0'))).toBe('errno=0\n\n');
    const [any] = /listen_port=\d+/.exec(await ask(OURS, GET)) ?? [];
    expect(any).not.toBe('listen_port=51999');
    // Any port is what it has: not one packet is lost over that.
    await ask(OURS, set('listen_port=0'));
    expect(await ask(OURS, GET)).toContain(`${any}\n`);
  });
});

describe('what is refused, with the number of wireguard-go', () => {
  const inPeer = (line: string): string[] => [`public_key=${A}`, line];
  test.each([
    ...[
      'listen_port=65536',
      'listen_port=-1',
      'listen_port=',
      'listen_port=x',
      'listen_port= 1',
      'listen_port=1.5',
      'fwmark=4294967296',
      'fwmark=0x33',
      'fwmark=off',
      'fwmark=',
      'replace_peers=false',
      'replace_peers=',
      'replace_peers=TRUE',
      'private_key=',
      'private_key=0',
      `private_key=${PRIVATE_KEY}00`,
      `private_key=${PRIVATE_KEY.slice(2)}zz`,
      'public_key=',
      'public_key=0',
      `public_key=${A.slice(2)}zz`,
      'allowed_ip=10.0.0.0/8',
      'endpoint=192.0.2.1:1',
      'remove=true',
      'colour=blue',
      '=',
      '=1',
      ' listen_port=1',
      'listen_port',
      'x',
      ' ',
    ].map((line) => [line]),
    ...[
      'remove=false',
      'remove=',
      'update_only=1',
      'replace_allowed_ips=no',
      'protocol_version=2',
      'protocol_version=',
      'preshared_key=',
      'preshared_key=0',
      `preshared_key=${PSK}0`,
      'endpoint=',
      'endpoint=192.0.2.1',
      'endpoint=192.0.2.1:',
      'endpoint=192.0.2.1:65536',
      'endpoint=192.0.2.256:1',
      'endpoint=2001:db8::1:1',
      'endpoint=[2001:db8::1]',
      'endpoint=example.org:1',
      'endpoint=[192.0.2.1]:1',
      'persistent_keepalive_interval=',
      'persistent_keepalive_interval=-1',
      'persistent_keepalive_interval=65536',
      'persistent_keepalive_interval=off',
      'allowed_ip=',
      'allowed_ip=10.0.0.0',
      'allowed_ip=10.0.0.0/33',
      'allowed_ip=10.0.0/8',
      'allowed_ip=fd09::/129',
      'allowed_ip=10.0.0.0/',
      'allowed_ip=10.0.0.0/x',
      'allowed_ip=/8',
      'allowed_ip=010.0.0.0/8',
      'private_key=0',
      'listen_port=1',
      'replace_peers=true',
      'colour=blue',
      'endpoint',
      '=',
    ].map(inPeer),
  ])('%s %s', async (...lines) => {
    const answered = await expectSame(set(...lines));
    expect(answered).toMatch(/^errno=-(22|71)\n\n$/);
    // wireguard-go has done what stood before the error; we have done nothing.
    expect(await ask(OURS, GET)).not.toContain('public_key');
  });

  test('nothing of a request that ends badly is done', async () => {
    const before = await ask(OURS, GET);
    const good = [
      `private_key=${PRIVATE_KEY}`,
      'listen_port=52000',
      'fwmark=7',
      `public_key=${A}`,
      'allowed_ip=::/0',
    ];
    expect(await ask(OURS, set(...good, 'allowed_ip=::/129'))).toBe('errno=-22\n\n');
    expect(await ask(OURS, GET)).toBe(before);
  });

  test('a port that is taken: −98, the present one stays, and nothing else of the request is done', async () => {
    await using _left = await holdPort(net.left, '0.0.0.0', 52_001);
    await using _right = await holdPort(net.right, '0.0.0.0', 52_001);
    expect(await ask(OURS, set('listen_port=52000'))).toBe('errno=0\n\n');
    const before = await ask(OURS, GET);
    expect(
      await ask(OURS, set(`private_key=${PRIVATE_KEY}`, 'fwmark=9', 'listen_port=52001', `public_key=${A}`)),
    ).toBe('errno=-98\n\n');
    expect(await ask(OURS, GET)).toBe(before);
    expect(await ask(THEIRS, set('listen_port=52001'))).toBe('errno=-98\n\n');
    await ask(THEIRS, set('listen_port=0')); // it has no socket now
  });
});

describe('a connection', () => {
  test.each([
    { name: 'an unknown operation', text: 'put=1\n\n' },
    { name: 'get=2', text: 'get=2\n\n' },
    { name: 'an empty line', text: '\n' },
    { name: 'rubbish', text: '\u0000\u00ff\n' },
  ])('ends at $name', async ({ text }) => {
    expect(await both(text)).toEqual(['', '']);
  });

  test('carries several requests, one after the other and all at once', async () => {
    const requests = [GET, set('fwmark=5'), GET, set('fwmark=0'), GET];
    const answers: string[][] = [];
    for (const name of [OURS, THEIRS]) {
      const socket = await dial(name);
      const own: string[] = [];
      for (const request of requests) {
        socket.write(request);
        own.push((await answer(socket)).replace(/listen_port=\d+\n/, ''));
      }
      socket.destroy();
      answers.push(own);
    }
    expect(answers[0]).toEqual(answers[1]);
    const socket = await dial(OURS);
    socket.write(requests.join(''));
    let text = '';
    while ((text.match(/errno=0\n\n/g) ?? []).length < requests.length) text += await answer(socket);
    expect(text.replaceAll(/listen_port=\d+\n/g, '')).toBe(answers[0]?.join(''));
    socket.destroy();
  });

  test('goes on after a request that was refused', async () => {
    const socket = await dial(OURS);
    socket.write(set('fwmark=x', 'listen_port=1', 'what=ever'));
    expect(await answer(socket)).toBe('errno=-22\n\n');
    socket.write(set('fwmark=6'));
    expect(await answer(socket)).toBe('errno=0\n\n');
    socket.destroy();
  });

  test('is answered before a request that is wrong has ended', async () => {
    for (const name of [OURS, THEIRS]) {
      const socket = await dial(name);
      socket.write('set=1\nfwmark=x\n');
      expect(await answer(socket)).toBe('errno=-22\n\n');
      socket.destroy();
    }
  });

  test('may close its sending half and wait for the answer', async () => {
    const socket = await dial(OURS);
    socket.end(GET);
    expect(await answer(socket)).toMatch(/errno=0\n\n$/);
  });

  test('that comes in pieces of one byte is the same', async () => {
    const socket = await dial(OURS);
    for (const byte of Buffer.from(set(`public_key=${A}`, `preshared_key=${PSK}`))) {
      await new Promise<void>((resolve) => socket.write(Buffer.of(byte), () => resolve()));
    }
    expect(await answer(socket)).toBe('errno=0\n\n');
    expect(await ask(OURS, GET)).toContain(`preshared_key=${PSK}\n`);
    socket.destroy();
  });
});
