// Who learns which name: peers and services of the policy, both ways and both versions, and what is left to other servers.

import dns from 'dns-packet';
import { describe, expect, test } from 'vitest';
import { edns, question, resolverOf, words } from './questions.ts';

const FILES = 'files: {addr: [10.9.0.22, "fd09::22"], ports: [tcp/443], dns: files.cell}';
const SECTION = `dns: {domain: cell}, services: {${FILES}, wiki: {addr: 10.9.0.23, ports: [tcp/80]}},
 profiles: {std: {services: [files], peers: all}, guest: {services: [files, wiki], peers: none, dns: {deny: ["*.example.org", files.cell]}}},
 sites: {cellb: {subnets: [10.5.0.0/24], inbound: [wiki], dns: {domain: b.cell, server: 10.5.0.1}}}`;
const ROWS = { alice: 'profile: std', bob: 'profile: guest' };
const { ask, resolver } = resolverOf(SECTION, ROWS);

const ALICE = '10.9.0.2';
const BOB = 'fd09::3';
const SITE = '10.5.0.7';

test.each([
  // a service
  [ALICE, 'files.cell', 'A', 'NOERROR 10.9.0.22'],
  [ALICE, 'FILES.Cell', 'AAAA', 'NOERROR fd09::22'],
  [ALICE, 'files.cell', 'MX', 'NOERROR cell'],
  [ALICE, 'files.cell', 'ANY', 'NOERROR 10.9.0.22 fd09::22'],
  ['192.168.7.9', 'files.cell', 'A', 'NOERROR 10.9.0.22'], // behind alice, so alice
  // by name or by address, a name that the asker may not reach is refused, and to that one only
  [ALICE, 'wiki.cell', 'A', 'REFUSED'],
  [ALICE, 'wiki.cell', 'AAAA', 'REFUSED'],
  [ALICE, '23.0.9.10.in-addr.arpa', 'PTR', 'REFUSED'],
  [BOB, 'wiki.cell', 'A', 'NOERROR 10.9.0.23'],
  [BOB, '23.0.9.10.in-addr.arpa', 'PTR', 'NOERROR wiki.cell'],
  [BOB, 'wiki.cell', 'AAAA', 'NOERROR cell'],
  [SITE, 'wiki.cell', 'A', 'NOERROR 10.9.0.23'],
  [SITE, 'files.cell', 'A', 'REFUSED'],
  ['10.9.0.5', 'wiki.cell', 'A', 'REFUSED'], // the peer that carries the site has no right of it
  // a name that the profile denies, though the peer may reach what it leads to
  [BOB, 'files.cell', 'A', 'REFUSED'],
  [BOB, '22.0.9.10.in-addr.arpa', 'PTR', 'REFUSED'],
  [BOB, 'ads.example.org', 'A', 'REFUSED'],
  // peers
  [ALICE, 'bob.cell', 'A', 'NOERROR 10.9.0.3'],
  [ALICE, 'bob.cell', 'AAAA', 'NOERROR fd09::3'],
  [BOB, 'alice.cell', 'A', 'REFUSED'],
  [BOB, 'bob.cell', 'A', 'NOERROR 10.9.0.3'],
  [ALICE, '3.0.9.10.in-addr.arpa', 'PTR', 'NOERROR bob.cell'],
  [
    ALICE,
    '3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.d.f.ip6.arpa',
    'PTR',
    'NOERROR bob.cell',
  ],
  [ALICE, '3.0.9.10.in-addr.arpa', 'A', 'NOERROR 0.9.10.in-addr.arpa'],
  // this node
  [BOB, 'ns.cell', 'A', 'NOERROR 10.9.0.1'],
  [ALICE, '1.0.9.10.in-addr.arpa', 'PTR', 'NOERROR ns.cell'],
  ['10.9.0.1', 'wiki.cell', 'A', 'NOERROR 10.9.0.23'], // asks itself
  // what is not there
  [ALICE, 'none.cell', 'A', 'NXDOMAIN cell'],
  [ALICE, 'www.files.cell', 'A', 'NXDOMAIN cell'],
  [ALICE, '99.0.9.10.in-addr.arpa', 'PTR', 'NXDOMAIN 0.9.10.in-addr.arpa'],
  [ALICE, 'cell', 'A', 'NOERROR cell'],
  [ALICE, 'cell', 'SOA', 'NOERROR [object Object]'],
  // other names have no server here; nor have those of a site of which the asker may reach nothing
  [ALICE, 'example.com', 'A', 'REFUSED'],
  [ALICE, 'cellar', 'A', 'REFUSED'],
  [ALICE, 'host.b.cell', 'A', 'REFUSED'],
  [ALICE, '9.0.5.10.in-addr.arpa', 'PTR', 'REFUSED'],
  [ALICE, 'cell', 'AXFR', 'REFUSED'],
  // no peer
  ['10.9.0.9', 'files.cell', 'A', 'stranger'],
  ['192.0.2.1', 'files.cell', 'A', 'stranger'],
  ['2001:db8::1', 'files.cell', 'A', 'stranger'],
])('%s asks for %s %s: %s', async (from, name, type, expected) => {
  expect(await ask(from, name, type)).toBe(expected);
});

describe('a service is known to whom any of its traffic is granted, as far as no row denies all of that', () => {
  const wiki = 'dns: {domain: cell}, services: {wiki: {addr: 10.9.0.23, ports: [tcp/80-90]}}';
  test.each([
    ['allow: [{to: wiki}]', 'NOERROR 10.9.0.23'],
    ['allow: [{to: 10.9.0.23, ports: [tcp/85-99]}]', 'NOERROR 10.9.0.23'],
    ['allow: [{to: 10.9.0.0/24}], deny: [{to: 10.9.0.23, ports: [tcp/1-89]}]', 'NOERROR 10.9.0.23'],
    ['allow: [{to: 10.9.0.23, ports: [tcp/88]}], deny: [{to: any, ports: [tcp/1-87]}]', 'NOERROR 10.9.0.23'],
    ['allow: [{to: 10.9.0.23, ports: [udp/53]}]', 'REFUSED'],
    ['allow: [{to: 10.9.0.0/24}], deny: [{to: wiki}]', 'REFUSED'],
    ['allow: [{to: 10.9.0.23, ports: [icmp/echo-request]}]', 'REFUSED'],
    ['allow: [{to: 10.9.0.24}]', 'REFUSED'],
    ['allow: [{to: any, from: 192.168.7.0/24}]', 'REFUSED'],
    ['allow: [{to: 10.9.0.0/24, ports: [tcp]}], deny: [{to: 10.9.0.23}]', 'REFUSED'],
    ['deny: [{to: any, ports: [udp]}]', 'REFUSED'],
  ])('%s', async (rows, expected) => {
    expect(await resolverOf(wiki, { alice: rows }).ask(ALICE, 'wiki.cell', 'A')).toBe(expected);
  });
});

test('a service at an address of this node is not known for the port of its names being open', async () => {
  const own = 'dns: {domain: cell}, services: {web: {addr: 10.9.0.1, ports: [tcp/80]}}';
  expect(await resolverOf(own).ask(ALICE, 'web.cell', 'A')).toBe('REFUSED');
  expect(await resolverOf(own, { alice: 'allow: [{to: web}]' }).ask(ALICE, 'web.cell', 'A')).toBe(
    'NOERROR 10.9.0.1',
  );
});

describe('the form of an answer', () => {
  const answerTo = async (message: Buffer, transport: 'udp' | 'tcp' = 'udp') => {
    const asker = resolver.askerAt({ version: 4, bytes: Uint8Array.of(10, 9, 0, 2) });
    if (asker === null) throw new Error('alice is a peer');
    const reply = (await resolver.answer(asker, message, transport)).message;
    if (reply === null) throw new Error('no answer');
    return reply;
  };

  test('is that of its question, and our own', async () => {
    const answer = dns.decode(await answerTo(question('FiLes.cell', 'A')));
    expect(answer).toMatchObject({ id: 4711, flag_qr: true, flag_aa: true, flag_rd: true, flag_ra: true });
    expect(answer.questions).toEqual([{ name: 'FiLes.cell', type: 'A', class: 'IN' }]);
    expect(answer.answers).toMatchObject([{ name: 'FiLes.cell', ttl: 30 }]);
    expect(answer.additionals).toEqual([]);
  });

  test('speaks of EDNS0 to those who do', async () => {
    const answer = dns.decode(await answerTo(question('files.cell', 'A', edns(4096))));
    expect(answer.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232, ednsVersion: 0 }]);
    const later = dns.decode(await answerTo(question('files.cell', 'A', edns(4096, 1))));
    expect(later.additionals).toMatchObject([{ extendedRcode: 1, ednsVersion: 0 }]);
    expect(later.answers).toEqual([]);
  });

  test('is cut where it does not fit, and whole over TCP', async () => {
    const addresses = Array.from({ length: 60 }, (_, i) => `10.9.1.${i + 1}`).join(', ');
    const big = resolverOf(`dns: {domain: cell}, services: {big: {addr: [${addresses}], ports: [tcp]}}`, {
      alice: 'allow: [{to: any}]',
    }).resolver;
    const asker = big.askerAt({ version: 4, bytes: Uint8Array.of(10, 9, 0, 2) });
    if (asker === null) throw new Error('alice is a peer');
    const sizeOf = async (transport: 'udp' | 'tcp', message: Buffer) => {
      const { flag_tc, answers } = dns.decode(
        (await big.answer(asker, message, transport)).message ?? Buffer.of(),
      );
      return [flag_tc, answers?.length];
    };
    expect(await sizeOf('udp', question('big.cell', 'A'))).toEqual([true, 0]);
    expect(await sizeOf('udp', question('big.cell', 'A', edns(1232)))).toEqual([true, 0]);
    expect(await sizeOf('tcp', question('big.cell', 'A'))).toEqual([false, 60]);
  });

  test.each([
    [
      'two questions',
      {
        questions: [
          { name: 'a', type: 'A' },
          { name: 'b', type: 'A' },
        ],
      },
      'FORMERR',
    ],
    ['another operation', { flags: 4 << 11 }, 'NOTIMP'],
    ['an answer', { type: 'response' }, 'nothing'],
    ['another class', { questions: [{ name: 'version.bind', type: 'TXT', class: 'CH' }] }, 'REFUSED'],
  ] as const)('%s', async (_, more, expected) => {
    const asker = resolver.askerAt({ version: 4, bytes: Uint8Array.of(10, 9, 0, 2) });
    const message = question('files.cell', 'A', structuredClone(more) as dns.Packet);
    if (asker === null) throw new Error('alice is a peer');
    expect(words((await resolver.answer(asker, message, 'udp')).message)).toBe(expected);
  });
});
