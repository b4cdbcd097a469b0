// Messages of strangers: whatever they hold, reading them throws nothing, and what is not whole is not taken for an answer.

import dns from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseIp } from '../../../src/address/ip.ts';
import {
  adaptAnswer,
  addressesIn,
  encodeForward,
  isAnswerTo,
  lifetimeSeconds,
  parseQuery,
  type Query,
} from '../../../src/dns/wire.ts';
import { parsed } from '../address/parsed.ts';
import { edns, question, resolverOf } from './questions.ts';

const { resolver } = resolverOf(
  'dns: {domain: cell}, services: {files: {addr: 10.9.0.22, ports: [tcp/443]}}',
  {
    alice: 'allow: [{to: files}]',
  },
);
const alice = resolver.askerAt(parsed(parseIp, '10.9.0.2'));

function queryOf(message: Buffer): Query {
  const read = parseQuery(message);
  if (!read.ok) throw new Error('this is a query');
  return read.query;
}

/** An answer of another server to a query of ours, with these records. */
function answerTo(asked: Buffer, more: dns.Packet): Buffer {
  const { id, questions } = dns.decode(asked);
  return dns.encode({ id, type: 'response', flags: dns.RECURSION_AVAILABLE, questions, ...more });
}

/** Bytes that begin as a message does, so that more than its header is looked at. */
const anyMessage = fc.oneof(
  fc.uint8Array({ maxLength: 600 }),
  fc
    .tuple(fc.uint8Array({ minLength: 12, maxLength: 12 }), fc.uint8Array({ maxLength: 400 }))
    .map(([head, rest]) => {
      const message = Buffer.concat([head, rest]);
      for (let i = 2; i < 12; i += 2) message.writeUInt16BE((message[i] ?? 0) & 1, i);
      return message;
    }),
  fc.tuple(fc.nat(), fc.nat(255), fc.nat({ max: 80 })).map(([at, byte, cut]) => {
    const message = question('files.cell', 'A', edns(1232));
    message[at % message.length] = byte;
    return message.subarray(0, message.length - (cut > message.length ? 0 : cut));
  }),
);

test('whatever comes, a resolver answers or is silent', async () => {
  if (alice === null) throw new Error('alice is a peer');
  await fc.assert(
    fc.asyncProperty(anyMessage, async (bytes) => {
      const { message } = await resolver.answer(alice, Buffer.from(bytes), 'udp');
      if (message === null) return;
      expect(message.length).toBeLessThanOrEqual(1232);
      expect(message.subarray(0, 2)).toEqual(Buffer.from(bytes.subarray(0, 2)));
      expect(dns.decode(message).flag_qr).toBe(true);
    }),
    { numRuns: 3_000 },
  );
});

test('whatever another server answers, it is read or left', () => {
  const asked = encodeForward(queryOf(question('example.org', 'A')));
  const query = queryOf(question('EXAMPLE.org', 'A'));
  const whole = answerTo(asked, {
    answers: [{ type: 'A', name: 'example.org', ttl: 60, data: '192.0.2.1' }],
  });
  fc.assert(
    fc.property(fc.nat(), fc.nat(255), fc.nat(whole.length), (at, byte, length) => {
      const message = Buffer.from(whole.subarray(0, length));
      if (length > 0) message[at % length] = byte;
      if (!isAnswerTo(asked, message)) return;
      lifetimeSeconds(message);
      addressesIn(message);
      adaptAnswer(query, message, 30);
    }),
    { numRuns: 3_000 },
  );
});

describe('a question', () => {
  test.each([
    ['a label with a dot', 'files.cell'],
    ['a label with a byte that is no text', 'files\x01cell'],
    ['a label with a byte of another alphabet', 'files\xffcell'],
  ])('%s is not taken for a name', (_, label) => {
    const bytes = Buffer.from(label, 'latin1');
    const head = question('.', 'A').subarray(0, 12);
    const message = Buffer.concat([head, Buffer.of(bytes.length), bytes, Buffer.of(0, 0, 1, 0, 1)]);
    expect(parseQuery(message)).toMatchObject({ ok: false });
  });

  test('of a type without a name is passed on as it is', () => {
    const query = queryOf(question('example.org', 'UNKNOWN_65'));
    expect(dns.decode(encodeForward(query)).questions).toMatchObject([{ type: 'UNKNOWN_65' }]);
  });
});

describe('an answer', () => {
  const query = queryOf(question('example.org', 'A'));
  const asked = encodeForward(query);
  const record = { type: 'A', name: 'example.org', ttl: 60, data: '192.0.2.1' } as const;
  const soa = {
    type: 'SOA',
    name: 'org',
    ttl: 900,
    data: { mname: 'a.org', rname: 'b.org', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 300 },
  } as const;

  test('is one to the id and the question that were sent', () => {
    const answer = answerTo(asked, { answers: [record] });
    expect(isAnswerTo(asked, answer)).toBe(true);
    expect(isAnswerTo(asked, answerTo(asked, { id: dns.decode(asked).id ?? 0 ^ 1, questions: [] }))).toBe(
      false,
    );
    const otherId = Buffer.from(answer);
    otherId.writeUInt16BE(answer.readUInt16BE(0) ^ 1);
    expect(isAnswerTo(asked, otherId)).toBe(false);
    const otherName = answerTo(asked, { questions: [{ type: 'A', name: 'example.net' }], answers: [record] });
    expect(isAnswerTo(asked, otherName)).toBe(false);
    const otherType = answerTo(asked, { questions: [{ type: 'AAAA', name: 'example.org' }] });
    expect(isAnswerTo(asked, otherType)).toBe(false);
    expect(isAnswerTo(asked, asked)).toBe(false);
  });

  test.each([
    ['the shortest of its records', { answers: [record, { ...record, ttl: 5 }] }, 5],
    ['of a name that is not there, what its zone says', { flags: 3, authorities: [soa] }, 300],
    ['of an empty one too', { authorities: [{ ...soa, ttl: 20 }] }, 20],
    ['none without a zone', { flags: 3 }, 0],
    ['none of a failure', { flags: 2, authorities: [soa] }, 0],
    ['none of a part', { flags: dns.TRUNCATED_RESPONSE, answers: [record] }, 0],
  ] as const)('lives for %s', (_, more, seconds) => {
    expect(lifetimeSeconds(answerTo(asked, structuredClone(more) as dns.Packet))).toBe(seconds);
  });

  test('has the spelling of its question, and ages', () => {
    const own = queryOf(question('ExAmple.ORG', 'A', { id: 9 }));
    const adapted = dns.decode(adaptAnswer(own, answerTo(asked, { answers: [record] }), 25));
    expect(adapted).toMatchObject({
      id: 9,
      flag_ra: true,
      flag_aa: false,
      questions: [{ name: 'ExAmple.ORG' }],
    });
    expect(adapted.answers).toMatchObject([{ ttl: 35, data: '192.0.2.1' }]);
  });
});
