// check: fine with a summary, or every problem with its line; the same as JSON.

import { afterAll, expect, test } from 'vitest';
import { ConfigFolder, INTERFACE, KEYS, PEER } from '../config/files.ts';
import { ringfence } from './program.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());
const cwd = folder.path;

const GOOD = `${PEER}    addresses: [10.9.0.2, "fd09::2"]
    routes: [192.168.7.0/24]
    endpoints: [vpn.example.org:51820]
    keepalive: 25
  bob:
    public_key: ${KEYS[1]}
    addresses: [10.9.0.3]
`;
const BAD = `${INTERFACE}  mtu: 1\n  colour: red\n`;

/** Written the way `load` writes it, whatever it finds. */
function write(text: string): void {
  try {
    folder.load(text);
  } catch {
    // The program is to find it again.
  }
}

test('fine: a table of the peers', async () => {
  write(GOOD);
  expect(await ringfence(['check', 'ringfence.yaml'], { cwd })).toEqual({
    code: 0,
    stderr: '',
    stdout: `ringfence.yaml: fine
interface rf0: 10.9.0.1/24, any free port, MTU auto
public key ${folder.publicKey}
PEER   ADDRESSES          ROUTES          ENDPOINT               KEEPALIVE  PRESHARED KEY
alice  10.9.0.2, fd09::2  192.168.7.0/24  vpn.example.org:51820  25 s       -
bob    10.9.0.3           -               -                      off        -
`,
  });
});

test('fine, as JSON', async () => {
  write(GOOD);
  const run = await ringfence(['check', '--json', 'ringfence.yaml'], { cwd });
  expect(run).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(run.stdout)).toEqual({
    file: 'ringfence.yaml',
    fine: true,
    interface: {
      name: 'rf0',
      publicKey: folder.publicKey,
      addresses: ['10.9.0.1/24'],
      listenPort: 0,
      mtu: 'auto',
    },
    peers: [
      {
        name: 'alice',
        publicKey: KEYS[0],
        hasPresharedKey: false,
        addresses: ['10.9.0.2', 'fd09::2'],
        routes: ['192.168.7.0/24'],
        endpoints: ['vpn.example.org:51820'],
        keepaliveSeconds: 25,
      },
      {
        name: 'bob',
        publicKey: KEYS[1],
        hasPresharedKey: false,
        addresses: ['10.9.0.3'],
        routes: [],
        endpoints: [],
        keepaliveSeconds: 0,
      },
    ],
  });
});

test('a long list of peers is cut', async () => {
  const peer = (i: number): string =>
    `  p${i}: {public_key: "${Buffer.alloc(32, i + 10).toString('base64')}", addresses: [10.9.1.${i}]}\n`;
  write(`${INTERFACE}peers:\n${Array.from({ length: 25 }, (_, i) => peer(i)).join('')}`);
  const run = await ringfence(['check', 'ringfence.yaml'], { cwd });
  expect(run.stdout.trimEnd().split('\n').slice(-2)).toEqual([
    'p19   10.9.1.19  -       -         off        -',
    '… and 5 more peers',
  ]);
});

test('not fine: every problem, and 2', async () => {
  write(BAD);
  expect(await ringfence(['check', 'ringfence.yaml'], { cwd })).toEqual({
    code: 2,
    stdout: '',
    stderr: `ringfence.yaml:5:8: interface.mtu: 1 is not auto, or a number from 576 to 65455 (ERR_CONFIG_MTU)
ringfence.yaml:6:3: interface.colour: unknown key; known here: name, private_key_file, addresses, listen_port, mtu, table, offloads (ERR_CONFIG_UNKNOWN_KEY)
`,
  });
});

test('not fine, as JSON', async () => {
  write(BAD);
  const run = await ringfence(['check', '--json', 'ringfence.yaml'], { cwd });
  expect(run).toMatchObject({ code: 2, stderr: '' });
  expect(JSON.parse(run.stdout)).toMatchObject({
    file: 'ringfence.yaml',
    fine: false,
    problems: [
      { file: 'ringfence.yaml', line: 5, column: 8, path: 'interface.mtu', code: 'ERR_CONFIG_MTU' },
      { line: 6, column: 3, path: 'interface.colour', code: 'ERR_CONFIG_UNKNOWN_KEY' },
    ],
  });
});

test('no file: one line and what to do', async () => {
  expect(await ringfence(['check', 'none.yaml'], { cwd })).toEqual({
    code: 2,
    stdout: '',
    stderr:
      'none.yaml:1:1: there is no such file (ERR_CONFIG_FILE)\n  hint: `ringfence init FILE` writes one\n',
  });
});

test('more problems than anybody reads are counted', async () => {
  const keys = Array.from({ length: 150 }, (_, i) => `  k${i}: 1\n`);
  write(INTERFACE + keys.join(''));
  const { stderr } = await ringfence(['check', 'ringfence.yaml'], { cwd });
  expect(stderr.trimEnd().split('\n')).toHaveLength(101);
  expect(stderr).toMatch(/… and 50 more problems\n$/);
});
