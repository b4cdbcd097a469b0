// Run in a host: answers DNS queries over UDP at ADDRESS from FILE, which is read anew for each: `{"NAME":{"A":["192.0.2.1"],
// "ttl":2}}`. Each query shows as a line `{"query":NAME,"type":"A"}`. No name, no type: no such name (RFC 1035 §4.1). A type
// that is `"SERVFAIL"` fails.

import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { parseIp } from '../../src/address/ip.ts';

type Answer = readonly string[] | 'SERVFAIL';
type Records = Readonly<
  Record<string, { readonly A?: Answer; readonly AAAA?: Answer; readonly ttl: number }>
>;

const TYPES = { 1: 'A', 28: 'AAAA' } as const;
const HEADER_BYTES = 12;
/** A pointer to the name in the question. */
const SAME_NAME = 0xc00c;
const FAILURE = 2;
const NO_SUCH_NAME = 3;

const [address = '', file = ''] = process.argv.slice(2);
const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');

socket.on('message', (query, from) => {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const end = at + 5;
  const type = query.readUInt16BE(at + 1);
  const name = labels.join('.').toLowerCase();
  const known = (JSON.parse(readFileSync(file, 'utf8')) as Records)[name];
  const word = type === 1 || type === 28 ? TYPES[type] : undefined;
  console.log(JSON.stringify({ query: name, type: word ?? type }));
  const said = word === undefined ? [] : (known?.[word] ?? []);
  const texts = said === 'SERVFAIL' ? [] : said;
  const answers = texts.map((text) => {
    const parsed = parseIp(text);
    if (!parsed.ok) throw new Error(`${text} is no address`);
    const record = Buffer.alloc(12 + parsed.value.bytes.length);
    record.writeUInt16BE(SAME_NAME, 0);
    record.writeUInt16BE(type, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(known?.ttl ?? 0, 6);
    record.writeUInt16BE(parsed.value.bytes.length, 10);
    record.set(parsed.value.bytes, 12);
    return record;
  });
  const header = Buffer.from(query.subarray(0, HEADER_BYTES));
  const code = said === 'SERVFAIL' ? FAILURE : known === undefined ? NO_SUCH_NAME : 0;
  header.writeUInt16BE(0x8580 | code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(answers.length, 6);
  header.writeUInt32BE(0, 8);
  socket.send(
    Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...answers]),
    from.port,
    from.address,
  );
});

socket.bind(53, address, () => console.log('{"listening":true}'));
