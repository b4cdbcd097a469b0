// DNS messages as bytes (RFC 1035 §4, RFC 6891). Everything here reads what strangers wrote: nothing throws, and no loop is
// longer than the message. `dns-packet` reads queries and writes our own answers; what other servers answer is passed on
// byte for byte, so it is only walked.

import { randomInt } from 'node:crypto';
import dns, {
  type Answer,
  type DecodedPacket,
  type OptAnswer,
  type Packet,
  type Question,
  type RecordType,
} from 'dns-packet';

export const HEADER_LENGTH = 12;
/** RFC 1035 §4.2.1, and what a host without EDNS0 takes. */
const LEAST_UDP_LENGTH = 512;
/** No fragments on any path (DNS flag day 2020); also what we tell those who ask. */
export const MOST_UDP_LENGTH = 1232;
export const MOST_TCP_LENGTH = 65_535;

const QR = 0x8000;
const AA = 0x0400;
const TC = 0x0200;
const RD = 0x0100;
const RA = 0x0080;
const AD = 0x0020;
const CD = 0x0010;

export const RCODE = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5 } as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

const CLASS_IN = 1;
const TYPE_OPT = 41;
const TYPE_SOA = 6;

/** What somebody asks. */
export interface Query {
  readonly id: number;
  /** As it was written, no dot at the end; `.` is the root. */
  readonly name: string;
  /** The same in lower case: names are compared so (RFC 4343). */
  readonly key: string;
  /** As `dns-packet` calls it: `AAAA`, `UNKNOWN_65`. */
  readonly type: string;
  readonly isInternetClass: boolean;
  /** The bytes of the question, name to class. */
  readonly question: Buffer;
  readonly flags: number;
  /** null: it did not speak of EDNS0. */
  readonly edns: { readonly version: number; readonly wantsDnssec: boolean } | null;
  /** How many bytes the answer may have over UDP. */
  readonly udpLength: number;
}

/** A query; or what to answer to something that is none, null for nothing. */
export type ParsedQuery =
  | { readonly ok: true; readonly query: Query }
  | { readonly ok: false; readonly reply: Buffer | null };

/** Reads one message of a client. */
export function parseQuery(message: Buffer): ParsedQuery {
  if (message.length < HEADER_LENGTH) return { ok: false, reply: null };
  const flags = message.readUInt16BE(2);
  if ((flags & QR) !== 0) return { ok: false, reply: null }; // two servers that answer answers never end
  const refuse = (rcode: Rcode): ParsedQuery => ({ ok: false, reply: bareReply(message, rcode) });
  if (((flags >> 11) & 0xf) !== 0) return refuse(RCODE.notImp);
  const [questions, answers, authorities, additionals] = countsOf(message);
  // One OPT, one TSIG: more is no query that anybody sends.
  if (questions !== 1 || answers !== 0 || authorities !== 0 || additionals > 2) return refuse(RCODE.formErr);
  const query = queryOf(message, flags);
  return query === null ? refuse(RCODE.formErr) : { ok: true, query };
}

function queryOf(message: Buffer, flags: number): Query | null {
  const end = skipName(message, HEADER_LENGTH);
  if (end === null || end + 4 > message.length) return null;
  let decoded: DecodedPacket;
  try {
    decoded = dns.decode(message);
  } catch {
    return null;
  }
  const [asked] = decoded.questions ?? [];
  const opts = (decoded.additionals ?? []).filter((record): record is OptAnswer => record.type === 'OPT');
  if (asked === undefined || opts.length > 1) return null;
  const question = message.subarray(HEADER_LENGTH, end + 4);
  if (!isPlainName(question)) return null;
  const [opt] = opts;
  const length = opt?.udpPayloadSize ?? LEAST_UDP_LENGTH;
  return {
    id: message.readUInt16BE(0),
    name: asked.name,
    key: lowerCase(asked.name),
    type: asked.type,
    isInternetClass: question.readUInt16BE(question.length - 2) === CLASS_IN,
    question: Buffer.from(question),
    flags,
    edns: opt === undefined ? null : { version: opt.ednsVersion, wantsDnssec: opt.flag_do },
    udpLength: Math.min(Math.max(length, LEAST_UDP_LENGTH), MOST_UDP_LENGTH),
  };
}

/** Labels of visible ASCII without dots: any other name would read like one that it is not. */
function isPlainName(question: Buffer): boolean {
  let left = 0;
  for (const byte of question.subarray(0, -4)) {
    if (left === 0) left = byte;
    else {
      if (byte <= 0x20 || byte >= 0x7f || byte === 0x2e) return false;
      left -= 1;
    }
  }
  return left === 0; // a pointer would leave a rest
}

/** ASCII only: no other letters are equal in DNS. */
function lowerCase(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** What a node answers by itself. */
export interface OwnAnswer {
  readonly rcode: Rcode;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
  readonly isAuthoritative?: boolean;
}

/** The message of an answer of ours. */
export function encodeAnswer(
  query: Query,
  { rcode, answers, authorities, isAuthoritative }: OwnAnswer,
): Buffer {
  const authority = isAuthoritative === true ? AA : 0;
  return encodeReply(query, {
    flags: (query.flags & (RD | CD)) | RA | authority | rcode,
    answers: [...(answers ?? [])],
    authorities: [...(authorities ?? [])],
    additionals: query.edns === null ? [] : [optRecord(0, query.edns.wantsDnssec)],
  });
}

/** RFC 6891 §6.1.3: of EDNS we know version 0. */
export function encodeBadVersion(query: Query): Buffer {
  return encodeReply(query, { flags: query.flags & RD, additionals: [optRecord(1, false)] });
}

function encodeReply(query: Query, rest: Packet): Buffer {
  const message = dns.encode({ id: query.id, type: 'response', questions: [questionOf(query)], ...rest });
  query.question.copy(message, HEADER_LENGTH); // its class too, of which dns-packet knows some
  return message;
}

/** What is sent where the whole answer is too long for UDP: the client asks again over TCP. */
function encodeTruncated(query: Query, answer: Buffer): Buffer {
  const own = encodeAnswer(query, { rcode: RCODE.noError });
  own.writeUInt16BE(answer.readUInt16BE(2) | TC, 2);
  return own;
}

/** The answer, or over UDP the part of it that says that it is longer. */
export function fitting(query: Query, answer: Buffer, transport: 'udp' | 'tcp'): Buffer {
  return transport === 'udp' && answer.length > query.udpLength ? encodeTruncated(query, answer) : answer;
}

/** The same question to another server: another id, recursion, and of EDNS only what the client asked for. */
export function encodeForward(query: Query): Buffer {
  const { flags, edns } = query;
  return dns.encode({
    id: randomInt(0x1_0000),
    type: 'query',
    flags: RD | (flags & (AD | CD)),
    questions: [questionOf(query)],
    additionals: edns === null ? [] : [optRecord(0, edns.wantsDnssec)],
  });
}

/** A question for the text of a name. */
export function textQuestion(name: string): Buffer {
  return dns.encode({
    id: randomInt(0x1_0000),
    type: 'query',
    flags: RD,
    questions: [{ name, type: 'TXT' }],
  });
}

/** What makes the answers to two questions the same one. */
export function cacheKey({ key, type, flags, edns }: Query): string {
  const dnssec = edns === null ? '-' : edns.wantsDnssec ? 'd' : 'e';
  return `${type} ${flags & (AD | CD)} ${dnssec} ${key}`;
}

/** Whether a message answers `asked`, a message of `encodeForward`: its id, its question, and all of its records are whole. */
export function isAnswerTo(asked: Buffer, message: Buffer): boolean {
  if (message.length < HEADER_LENGTH || message.readUInt16BE(0) !== asked.readUInt16BE(0)) return false;
  const flags = message.readUInt16BE(2);
  if ((flags & QR) === 0 || ((flags >> 11) & 0xf) !== 0 || message.readUInt16BE(4) !== 1) return false;
  const end = skipName(asked, HEADER_LENGTH);
  if (end === null || message.length < end + 4) return false;
  // No label is longer than 63, so no length byte is a letter.
  const questionOfMessage = message.toString('latin1', HEADER_LENGTH, end + 4);
  return lowerCase(questionOfMessage) === lowerCase(asked.toString('latin1', HEADER_LENGTH, end + 4));
}

export function isTruncated(message: Buffer): boolean {
  return (message.readUInt16BE(2) & TC) !== 0;
}

export function rcodeOf(message: Buffer): number {
  return message.readUInt16BE(2) & 0xf;
}

/** An answer of another server as that of this query: its id and its spelling, as old as it is. */
export function adaptAnswer(query: Query, message: Buffer, ageSeconds: number): Buffer {
  const own = Buffer.from(message);
  own.writeUInt16BE(query.id, 0);
  own.writeUInt16BE((own.readUInt16BE(2) & ~(AA | RD)) | (query.flags & RD) | RA, 2);
  query.question.copy(own, HEADER_LENGTH);
  for (const { type, ttlOffset } of recordsOf(own) ?? []) {
    if (type === TYPE_OPT) continue;
    own.writeUInt32BE(Math.max(own.readUInt32BE(ttlOffset) - ageSeconds, 0), ttlOffset);
  }
  return own;
}

/** Seconds for which an answer may be given again; 0: not at all. RFC 2308 §5 for names that are not there. */
export function lifetimeSeconds(message: Buffer): number {
  const records = recordsOf(message);
  const rcode = rcodeOf(message);
  if (records === null || isTruncated(message)) return 0;
  if (rcode !== RCODE.noError && rcode !== RCODE.nxDomain) return 0;
  const ttls = records
    .filter(({ type }) => type !== TYPE_OPT)
    .map(({ ttlOffset }) => message.readUInt32BE(ttlOffset));
  const hasAnswer = message.readUInt16BE(6) > 0 && rcode === RCODE.noError;
  if (hasAnswer) return Math.min(...ttls);
  const soa = records.find(({ type }) => type === TYPE_SOA);
  if (soa === undefined || soa.end - soa.ttlOffset < 4 + 2 + 20) return 0;
  return Math.min(...ttls, message.readUInt32BE(soa.end - 4));
}

/** The addresses that a message leads to, as text; null where it cannot be read. */
export function addressesIn(message: Buffer): readonly string[] | null {
  try {
    const { answers = [] } = dns.decode(message);
    return answers.flatMap((record) => (record.type === 'A' || record.type === 'AAAA' ? [record.data] : []));
  } catch {
    return null;
  }
}

interface RecordSpan {
  readonly type: number;
  readonly ttlOffset: number;
  readonly end: number;
}

/** Where the records of a message lie, or null where one is cut. */
function recordsOf(message: Buffer): RecordSpan[] | null {
  const [questions, ...counts] = countsOf(message);
  let offset = HEADER_LENGTH;
  for (let i = 0; i < questions; i++) {
    const end = skipName(message, offset);
    if (end === null || end + 4 > message.length) return null;
    offset = end + 4;
  }
  const count = counts.reduce((sum, one) => sum + one, 0);
  const records: RecordSpan[] = [];
  for (let i = 0; i < count; i++) {
    const head = skipName(message, offset);
    if (head === null || head + 10 > message.length) return null;
    const end = head + 10 + message.readUInt16BE(head + 8);
    if (end > message.length) return null;
    records.push({ type: message.readUInt16BE(head), ttlOffset: head + 4, end });
    offset = end;
  }
  return records;
}

/** Where a name ends, or null where it is cut. A pointer ends it (RFC 1035 §4.1.4), so each step goes forward. */
function skipName(message: Buffer, start: number): number | null {
  let offset = start;
  for (;;) {
    const length = message[offset];
    if (length === undefined) return null;
    if (length === 0) return offset + 1;
    if (length >= 0xc0) return offset + 2 > message.length ? null : offset + 2;
    if (length > 63) return null;
    offset += 1 + length;
  }
}

function countsOf(
  message: Buffer,
): [questions: number, answers: number, authorities: number, additionals: number] {
  return [
    message.readUInt16BE(4),
    message.readUInt16BE(6),
    message.readUInt16BE(8),
    message.readUInt16BE(10),
  ];
}

/** An answer to what could not be read: only its id. */
function bareReply(message: Buffer, rcode: Rcode): Buffer {
  const reply = Buffer.alloc(HEADER_LENGTH);
  reply.writeUInt16BE(message.readUInt16BE(0), 0);
  reply.writeUInt16BE(QR | (message.readUInt16BE(2) & (0x7800 | RD)) | rcode, 2);
  return reply;
}

/** `dns-packet` reads and writes types that it has no name for, as `UNKNOWN_65`, but its own types do not say so. */
function questionOf({ name, type }: Query): Question {
  return { name, type: type as RecordType };
}

function optRecord(extendedRcode: number, wantsDnssec: boolean): OptAnswer {
  return {
    type: 'OPT',
    name: '.',
    udpPayloadSize: MOST_UDP_LENGTH,
    extendedRcode,
    ednsVersion: 0,
    flags: wantsDnssec ? dns.DNSSEC_OK : 0,
    flag_do: wantsDnssec,
    options: [],
  };
}
