// Names through tunnels: two peers with different profiles ask one node by a real stub resolver, over IPv4 and IPv6, UDP and
// TCP; other names come from servers of the test's own. And CoreDNS with the file that is made for it, where it is installed.

import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { generateKeyPair } from '../support/keys.ts';
import type { LineProcess } from '../support/line-process.ts';
import { type NodeFile, NodeProcess, RINGFENCE, Scratch, writeNode } from '../support/node-process.ts';
import { addHost, type Host, routed } from '../support/topology.ts';
import { endpoint, holdPort, NODE, ping } from '../support/traffic.ts';

const ASK = fileURLToPath(new URL('../support/ask.ts', import.meta.url));
const UPSTREAM = fileURLToPath(new URL('../support/upstream-server.ts', import.meta.url));
const HUB = { v4: '10.9.0.1', v6: 'fd09::1' };
/** The router between the hosts, as the hub sees it. */
const ROUTER = '192.0.2.1';
const SITE = '10.5.0.1';

/** What is not known comes as an error of c-ares. */
const REFUSED = 'EREFUSED';
const NONE = 'ENOTFOUND';
const EMPTY = 'ENODATA';

type Answers = Readonly<Record<string, unknown>>;

/** Asks `server` all of it from one host, and says what came. */
async function ask(
  host: Host,
  server: string,
  questions: readonly string[],
  tries = 4,
  from = '',
): Promise<Answers> {
  const lines = (await host.exec(NODE, [ASK, server, `${tries}`, from, ...questions])).split('\n');
  return Object.fromEntries(questions.map((question, i) => [question, JSON.parse(lines[i] ?? 'null')]));
}

async function serve(host: Host, address: string, records: object): Promise<LineProcess> {
  const server = host.spawn(NODE, [UPSTREAM, address, JSON.stringify(records)]);
  await server.line(/"listening":true/, 20_000);
  return server;
}

/** Takes TCP connections at each `ADDRESS PORT`. */
async function holdStreams(host: Host, places: readonly string[]): Promise<LineProcess> {
  const script = `for (const place of process.argv.slice(1)) {
    const [host, port] = place.split(' ');
    require('net').createServer((socket) => socket.destroy()).listen(port, host, () => console.log('listening', port));
  }`;
  const server = host.spawn(NODE, ['-e', script, ...places]);
  for (const place of places) await server.line(new RegExp(`listening ${place.split(' ')[1]}`), 10_000);
  return server;
}

async function connects(host: Host, address: string, port: number): Promise<boolean> {
  const script = `const socket = require('net').connect(${port}, '${address}');
    const end = (word) => { console.log(word); process.exit(); };
    socket.on('connect', () => end('open')).on('error', () => end('closed'));
    setTimeout(() => end('closed'), 3000);`;
  return (await host.exec(NODE, ['-e', script])).trim() === 'open';
}

const FIREWALL = {
  version: 1,
  services: {
    files: { addr: ['10.9.0.22', 'fd09::22'], ports: ['tcp/443'], dns: 'files.cell' },
    wiki: { addr: '10.9.0.23', ports: ['tcp/80'] },
  },
  profiles: {
    std: { services: ['files'], peers: 'all', allow: [{ to: '10.5.0.7' }] },
    guest: { services: ['wiki'], peers: 'none', dns: { deny: ['*.denied.example'] } },
  },
  sites: { bob: { subnets: ['10.5.0.0/24'], dns: { domain: 'b.example', server: SITE } } },
  dns: { domain: 'cell', upstream: ['192.0.2.77', ROUTER] },
};

test('each peer learns what it may reach, and other names from other servers', async () => {
  await using undo = new AsyncDisposableStack();
  const scratch = undo.use(await Scratch.create());
  const net = undo.use(await routed(1500, { left: 'nhub', right: 'nalice' }));
  const hub = net.left;
  const spokes = [
    { name: 'alice', host: net.right, v4: '10.9.0.2', v6: 'fd09::2', profile: 'std', routes: [] },
    {
      name: 'bob',
      host: await addHost(net, 'nbob'),
      v4: '10.9.0.3',
      v6: 'fd09::3',
      profile: 'guest',
      routes: ['10.5.0.0/24'],
    },
  ].map((spoke) => ({ ...spoke, keys: generateKeyPair() }));
  const hubKeys = generateKeyPair();
  const hubFile: NodeFile = {
    interface: {
      name: 'rf-nhub',
      private_key_file: 'node.key',
      addresses: [`${HUB.v4}/24`, `${HUB.v6}/64`],
      listen_port: 51820,
    },
    peers: Object.fromEntries(
      spokes.map(({ name, keys, v4, v6, profile, routes }) => [
        name,
        { public_key: keys.publicKey, addresses: [v4, v6], routes, profile },
      ]),
    ),
    firewall: FIREWALL,
  };
  const files = await writeNode(join(scratch.path, 'hub'), hubKeys, hubFile);
  const spokeFiles = await Promise.all(
    spokes.map(({ host, keys, v4, v6 }) =>
      writeNode(join(scratch.path, host.name), keys, {
        interface: {
          name: `rf-${host.name}`,
          private_key_file: 'node.key',
          addresses: [`${v4}/24`, `${v6}/64`],
        },
        peers: {
          hub: {
            public_key: hubKeys.publicKey,
            addresses: [HUB.v4, HUB.v6],
            routes: ['10.9.0.0/24', 'fd09::/64'],
            endpoints: [endpoint(hub.v4, 51820)],
          },
        },
      }),
    ),
  );

  // Where port 53 is taken, the node does not start, and says where in the file to look.
  const holder = await holdPort(hub, '0.0.0.0', 53);
  await expect(NodeProcess.start(hub, files)).rejects.toThrow(
    /ringfence\.yaml:\d+:\d+: firewall\.dns: names cannot be answered at 10\.9\.0\.1 port 53: EADDRINUSE \(ERR_NODE_LISTEN\)/,
  );
  await holder.stop();

  const [alice, bob] = spokes.map(({ host }) => host);
  if (alice === undefined || bob === undefined) throw new Error('there are two');
  const records = {
    'www.example': { A: ['198.51.100.80'], AAAA: ['2001:db8::80'] },
    'www.denied.example': { A: ['198.51.100.81'] },
    'big.example': { TXT: Array.from({ length: 40 }, (_, i) => `${i} `.repeat(40)) },
  };
  const siteRecords = { 'ok.b.example': { A: ['10.5.0.7'] }, 'secret.b.example': { A: ['10.5.0.9'] } };
  await bob.ipBatch(`address add ${SITE}/24 dev lo`);
  const [node, upstream, site] = await Promise.all([
    NodeProcess.start(hub, files),
    serve(net.internet, ROUTER, records),
    serve(bob, SITE, siteRecords),
    ...spokeFiles.map((own, i) => NodeProcess.start(spokes[i]?.host ?? hub, own)),
  ]);
  await Promise.all(spokes.map(async ({ host }) => expect(await ping(host, HUB.v4)).toBeDefined()));

  const questions = [
    'A files.cell',
    'AAAA FILES.cell',
    'PTR 22.0.9.10.in-addr.arpa',
    'A wiki.cell',
    'AAAA wiki.cell',
    'PTR 23.0.9.10.in-addr.arpa',
    'A bob.cell',
    'AAAA alice.cell',
    'A none.cell',
    'A www.example',
    'AAAA www.example',
    'A www.denied.example',
    'A none.example',
  ];
  const ofAlice = {
    'A files.cell': ['10.9.0.22'],
    'AAAA FILES.cell': ['fd09::22'],
    'PTR 22.0.9.10.in-addr.arpa': ['files.cell'],
    'A wiki.cell': REFUSED,
    'AAAA wiki.cell': REFUSED,
    'PTR 23.0.9.10.in-addr.arpa': REFUSED,
    'A bob.cell': ['10.9.0.3'],
    'AAAA alice.cell': ['fd09::2'],
    'A none.cell': NONE,
    'A www.example': ['198.51.100.80'],
    'AAAA www.example': ['2001:db8::80'],
    'A www.denied.example': ['198.51.100.81'],
    'A none.example': NONE,
  };
  const ofBob = {
    ...ofAlice,
    'A files.cell': REFUSED,
    'AAAA FILES.cell': REFUSED,
    'PTR 22.0.9.10.in-addr.arpa': REFUSED,
    'A wiki.cell': ['10.9.0.23'],
    'AAAA wiki.cell': EMPTY,
    'PTR 23.0.9.10.in-addr.arpa': ['wiki.cell'],
    'AAAA alice.cell': REFUSED,
    'A www.denied.example': REFUSED,
  };
  const [alice4, alice6, bob4, bob6] = await Promise.all([
    ask(alice, HUB.v4, questions),
    ask(alice, HUB.v6, questions),
    ask(bob, HUB.v4, questions),
    ask(bob, HUB.v6, questions),
  ]);
  expect([alice4, alice6]).toEqual([ofAlice, ofAlice]);
  expect([bob4, bob6]).toEqual([ofBob, ofBob]);

  // And by packet: what a peer has no name for it does not reach either.
  await hub.ipBatch('address add 10.9.0.22/32 dev lo', 'address add 10.9.0.23/32 dev lo');
  undo.use(await holdStreams(hub, ['10.9.0.22 443', '10.9.0.23 80']));
  const reaches = async (host: Host): Promise<readonly boolean[]> =>
    await Promise.all([connects(host, '10.9.0.22', 443), connects(host, '10.9.0.23', 80)]);
  expect([await reaches(alice), await reaches(bob)]).toEqual([
    [true, false],
    [false, true],
  ]);

  // Cut over UDP, so the node asks its server over TCP, and the peer asks the node so.
  const big = await ask(alice, HUB.v4, ['TXT big.example', 'A ok.b.example', 'A secret.b.example']);
  expect(big['TXT big.example']).toHaveLength(40);
  expect(upstream.lines.some(({ text }) => text.includes('"big.example","type":"TXT","over":"tcp"'))).toBe(
    true,
  );
  expect([big['A ok.b.example'], big['A secret.b.example']]).toEqual([['10.5.0.7'], REFUSED]);
  expect(site.lines.some(({ text }) => text.includes('ok.b.example'))).toBe(true);

  // Whoever is no peer gets nothing, though the address answers; what was asked was counted.
  await net.internet.ipBatch(`route add ${HUB.v4} via ${hub.v4}`);
  expect(await ask(net.internet, HUB.v4, ['A files.cell'], 1)).toEqual({ 'A files.cell': 'ETIMEOUT' });
  const { names } = await node.status();
  expect(names).toMatchObject({ domain: 'cell', addresses: [HUB.v4, HUB.v6] });
  expect(Number(names?.questions['stranger'])).toBeGreaterThan(0);
  expect(Number(names?.questions['refused'])).toBeGreaterThanOrEqual(16);
  expect(Number(names?.questions['kept'])).toBeGreaterThan(0);

  // A reload changes what the next question is answered.
  const profiles = { ...FIREWALL.profiles, std: { ...FIREWALL.profiles.std, services: ['wiki'] } };
  const changed = {
    ...hubFile,
    firewall: { ...FIREWALL, profiles, dns: { ...FIREWALL.dns, domain: 'net' } },
  };
  await writeFile(files.configFile, stringify(changed));
  expect(await node.command('reload', 'rf-nhub')).toContain('firewall.dns.domain: cell → net');
  expect(await ask(alice, HUB.v6, ['A files.cell', 'A wiki.net', 'A wiki.cell'])).toEqual({
    'A files.cell': REFUSED,
    'A wiki.net': ['10.9.0.23'],
    'A wiki.cell': NONE,
  });
  await node.stop();
}, 90_000);

const COREDNS = installed('coredns');
if (COREDNS === null) {
  console.warn('CoreDNS is not installed, so nothing is tried with it: bench/peers.sh coredns builds it');
} else {
  test('CoreDNS answers by the file that is made for it, and is asked whether it took the next one', async () => {
    await using undo = new AsyncDisposableStack();
    const scratch = undo.use(await Scratch.create());
    const net = undo.use(await routed(1500, { left: 'ncore', right: 'nother' }));
    const host = net.left;
    for (const address of ['10.9.0.1/32', '10.9.0.2/32', '10.9.0.3/32', 'fd09::1/128', 'fd09::3/128']) {
      await host.ipBatch(`address add ${address} dev lo`);
    }
    undo.use(await serve(net.internet, ROUTER, { 'www.example': { A: ['198.51.100.80'] } }));
    const peer = (keys: { addresses: string[]; profile: string; routes?: string[] }) => ({
      public_key: generateKeyPair().publicKey,
      ...keys,
    });
    const file: NodeFile = {
      interface: { name: 'rf-ncore', private_key_file: 'node.key', addresses: ['10.9.0.1/24', 'fd09::1/64'] },
      peers: {
        alice: peer({ addresses: ['10.9.0.2', 'fd09::2'], profile: 'std' }),
        bob: peer({ addresses: ['10.9.0.3', 'fd09::3'], profile: 'guest', routes: ['10.5.0.0/24'] }),
      },
      firewall: {
        ...FIREWALL,
        dns: {
          domain: 'cell',
          upstream: [ROUTER],
          corefile: 'Corefile',
          reload: { pid_file: 'coredns.pid' },
        },
      },
    };
    const { configFile, directory } = await writeNode(join(scratch.path, 'core'), generateKeyPair(), file);
    const corefile = join(directory, 'Corefile');
    await writeFile(corefile, await host.exec(RINGFENCE, ['dns', 'corefile', configFile]));
    const server = host.spawn(COREDNS, ['-conf', corefile, '-pidfile', join(directory, 'coredns.pid')]);
    undo.use(server);
    await server.line(/^CoreDNS-/, 20_000);

    const questions = [
      'A files.cell',
      'AAAA files.cell',
      'PTR 22.0.9.10.in-addr.arpa',
      'A wiki.cell',
      'A bob.cell',
    ];
    const others = [
      'MX files.cell',
      'A none.cell',
      'A x.files.cell',
      'A www.example',
      'A www.denied.example',
    ];
    const asked = [...questions, ...others];
    const ofAlice = {
      'A files.cell': ['10.9.0.22'],
      'AAAA files.cell': ['fd09::22'],
      'PTR 22.0.9.10.in-addr.arpa': ['files.cell'],
      'A wiki.cell': REFUSED,
      'A bob.cell': ['10.9.0.3'],
      'MX files.cell': EMPTY,
      'A none.cell': NONE,
      'A x.files.cell': NONE,
      'A www.example': ['198.51.100.80'],
      'A www.denied.example': NONE,
    };
    const refused = Object.fromEntries(
      [...questions, 'MX files.cell', 'A x.files.cell'].map((one) => [one, REFUSED]),
    );
    const ofBob = {
      ...ofAlice,
      ...refused,
      'A wiki.cell': ['10.9.0.23'],
      'A bob.cell': ['10.9.0.3'],
      'A www.denied.example': REFUSED,
    };
    expect(await ask(host, '10.9.0.1', asked, 4, '10.9.0.2')).toEqual(ofAlice);
    expect(await ask(host, '10.9.0.1', asked, 4, '10.9.0.3')).toEqual(ofBob);
    expect(await ask(host, 'fd09::1', asked, 4, 'fd09::3')).toEqual(ofBob);

    // A file that CoreDNS cannot use stops nothing; the next one is taken, and only then is it a success.
    await writeFile(corefile, 'cell {');
    await host.exec('kill', ['-USR1', `${server.pid}`]);
    await server.line(/\[ERROR\]/, 10_000);
    await writeFile(
      configFile,
      stringify({ ...file, firewall: { ...(file.firewall as object), profiles: {}, sites: {} }, peers: {} }),
    );
    expect((await host.try(RINGFENCE, ['dns', 'corefile', configFile, '--write'])).stderr).toContain(
      'answers by it',
    );
    expect((await readFile(corefile, 'utf8')).includes('alice')).toBe(false);

    // A process that is no CoreDNS gets no signal.
    await writeFile(join(directory, 'coredns.pid'), `${process.pid}\n`);
    expect((await host.try(RINGFENCE, ['dns', 'corefile', configFile, '--write'])).stderr).toContain(
      'names no running process called coredns',
    );
  }, 90_000);
}

/** Where a program is: on PATH, or where bench/peers.sh puts what it builds. */
function installed(name: string): string | null {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'ringfence/bench');
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), cache];
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file)) ?? null;
}
