// Other name servers: real ones on loopback that answer well, badly, late or not at all.

import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import dns, { type DecodedPacket, type Packet } from 'dns-packet';
import { expect, test } from 'vitest';
import { type Forwarded, Forwarder } from '../../../src/dns/forwarder.ts';
import { parseQuery, type Query } from '../../../src/dns/wire.ts';
import type { NameServer } from '../../../src/policy/names.ts';
import { question, server, words } from './questions.ts';

/** What a server does with a question over UDP: messages to send back. */
type Behaviour = (asked: DecodedPacket, count: number) => readonly Packet[];

interface Upstream extends AsyncDisposable {
  readonly at: NameServer;
  readonly askers: RemoteInfo[];
  readonly ids: number[];
}

const ADDRESS = { type: 'A', name: 'example.org', ttl: 60, data: '192.0.2.1' } as const;

function reply({ id, questions }: DecodedPacket, more: Packet): Packet {
  return { id, type: 'response', flags: dns.RECURSION_AVAILABLE, questions, ...more };
}

async function upstream(behaviour: Behaviour, overTcp: Packet | null = null): Promise<Upstream> {
  const udp = createSocket('udp4');
  const askers: RemoteInfo[] = [];
  const ids: number[] = [];
  udp.on('message', (message, from) => {
    const asked = dns.decode(message);
    askers.push(from);
    ids.push(asked.id ?? -1);
    for (const packet of behaviour(asked, askers.length))
      udp.send(dns.encode(packet), from.port, from.address);
  });
  udp.bind(0, '127.0.0.1');
  await once(udp, 'listening');
  const { port } = udp.address();
  const tcp = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      if (overTcp === null) socket.destroy();
      else socket.write(dns.streamEncode(reply(dns.decode(chunk.subarray(2)), overTcp)));
    });
  });
  tcp.listen(port, '127.0.0.1');
  await once(tcp, 'listening');
  return {
    at: server('127.0.0.1', port),
    askers,
    ids,
    [Symbol.asyncDispose]: async () => {
      udp.close();
      tcp.close();
    },
  };
}

function query(name = 'example.org', type = 'A'): Query {
  const read = parseQuery(question(name, type));
  if (!read.ok) throw new Error('this is a query');
  return read.query;
}

function said(answer: Forwarded): string {
  return answer.ok ? `${answer.isKept ? 'kept ' : ''}${words(answer.message)}` : answer.reason;
}

const silent: Behaviour = () => [];
const answers: Behaviour = (asked) => [reply(asked, { answers: [ADDRESS] })];

test('each server in its turn, and the one that answered first from then on', async () => {
  await using dead = await upstream(silent);
  await using failing = await upstream((asked) => [reply(asked, { flags: 2 })]);
  await using good = await upstream(answers);
  using forwarder = new Forwarder({ tryMs: 100 });
  const servers = [dead.at, failing.at, good.at];
  expect(said(await forwarder.ask(query(), servers, 'alice'))).toBe('NOERROR 192.0.2.1');
  expect(said(await forwarder.ask(query('example.net'), servers, 'alice'))).toBe('NOERROR 192.0.2.1');
  expect([dead.askers.length, failing.askers.length, good.askers.length]).toEqual([1, 1, 2]);
  // Where none has an answer, what one said of it; where none says anything, nothing.
  expect(said(await forwarder.ask(query(), [failing.at], 'alice'))).toBe('SERVFAIL');
  expect(said(await forwarder.ask(query(), [dead.at], 'alice'))).toBe('failure');
  expect(said(await forwarder.ask(query(), [server('127.0.0.1', 1)], 'alice'))).toBe('failure'); // nobody listens
});

test('an answer to another question, or with another id, is not taken', async () => {
  await using liar = await upstream((asked) => [
    reply({ ...asked, id: (asked.id ?? 0) ^ 1 }, { answers: [{ ...ADDRESS, data: '192.0.2.66' }] }),
    reply(asked, {
      questions: [{ name: 'example.net', type: 'A' }],
      answers: [{ ...ADDRESS, data: '192.0.2.67' }],
    }),
    reply(asked, { answers: [ADDRESS] }),
  ]);
  using forwarder = new Forwarder();
  expect(said(await forwarder.ask(query(), [liar.at], 'alice'))).toBe('NOERROR 192.0.2.1');
});

test('an answer from another address is not taken', async () => {
  const stranger = createSocket('udp4').bind(0, '127.0.0.2');
  await once(stranger, 'listening');
  await using slow = await upstream((asked, count) => {
    const from = slow.askers[count - 1];
    const forged = dns.encode(reply(asked, { answers: [{ ...ADDRESS, data: '192.0.2.66' }] }));
    stranger.send(forged, from?.port ?? 0, '127.0.0.1');
    return [];
  });
  using forwarder = new Forwarder({ tryMs: 200 });
  expect(said(await forwarder.ask(query(), [slow.at], 'alice'))).toBe('failure');
  stranger.close();
});

test('what does not fit into a datagram is asked over TCP', async () => {
  const many = Array.from({ length: 200 }, (_, i) => ({ ...ADDRESS, data: `192.0.2.${i}` }));
  await using cut = await upstream((asked) => [reply(asked, { flags: dns.TRUNCATED_RESPONSE })], {
    answers: many,
  });
  await using broken = await upstream((asked) => [reply(asked, { flags: dns.TRUNCATED_RESPONSE })]);
  using forwarder = new Forwarder();
  const answer = await forwarder.ask(query(), [broken.at, cut.at], 'alice');
  expect(answer.ok && dns.decode(answer.message).answers).toHaveLength(200);
});

test('answers are kept for as long as they say, by question, and equal questions are asked once', async () => {
  await using good = await upstream(answers);
  let now = 0;
  using forwarder = new Forwarder({ now: () => now });
  const ask = async (name: string, type = 'A') =>
    said(await forwarder.ask(query(name, type), [good.at], 'alice'));
  await Promise.all([ask('example.org'), ask('example.org'), ask('EXAMPLE.org')]);
  expect(good.askers).toHaveLength(1);
  now = 59_000;
  expect(await ask('example.org')).toBe('kept NOERROR 192.0.2.1');
  expect(await ask('example.org', 'AAAA')).not.toContain('kept');
  now = 61_000;
  expect(await ask('example.org')).toBe('NOERROR 192.0.2.1');
  expect(good.askers).toHaveLength(3);
  expect(new Set(good.askers.map(({ port }) => port)).size).toBe(3); // a port of its own each
  expect(new Set(good.ids).size).toBeGreaterThan(1);
});

test('one asker fills its own share of what may wait, and no more', async () => {
  await using dead = await upstream(silent);
  const forwarder = new Forwarder();
  const waiting = Array.from({ length: 80 }, (_, i) => forwarder.ask(query(`n${i}.org`), [dead.at], 'alice'));
  const refused = await Promise.all(waiting.slice(64));
  expect(new Set(refused.map(said))).toEqual(new Set(['overload']));
  await using good = await upstream(answers);
  expect(said(await forwarder.ask(query(), [good.at], 'bob'))).toBe('NOERROR 192.0.2.1');
  forwarder[Symbol.dispose](); // ends what waits
  expect(new Set((await Promise.all(waiting.slice(0, 64))).map(said))).toEqual(new Set(['failure']));
});
