// Run in a host: a name server at ADDRESS, UDP and TCP, with the names of RECORDS, `{"NAME":{"A":["192.0.2.1"],"TXT":["…"]}}`.
// What is too long for a datagram is cut there. Each question shows as a line `{"question":NAME,"type":"A","over":"udp"}`.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6 } from 'node:net';
import dns, { type Answer } from 'dns-packet';

type Records = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

const PORT = 53;
const DATAGRAM_BYTES = 512;
const NO_SUCH_NAME = 3;

const [address = '', text = '{}'] = process.argv.slice(2);
const records = JSON.parse(text) as Records;

function answerTo(message: Buffer, over: 'udp' | 'tcp'): Buffer {
  const { id, questions = [] } = dns.decode(message);
  const name = questions[0]?.name.toLowerCase() ?? '';
  const type = questions[0]?.type ?? 'A';
  console.log(JSON.stringify({ question: name, type, over }));
  const known = records[name];
  const answers = (known?.[type] ?? []).map((data) => ({ name, type, ttl: 60, data }) as Answer);
  const flags = dns.RECURSION_AVAILABLE | (known === undefined ? NO_SUCH_NAME : 0);
  const whole = dns.encode({ id: id ?? 0, type: 'response', flags, questions, answers });
  if (over === 'tcp' || whole.length <= DATAGRAM_BYTES) return whole;
  return dns.encode({ id: id ?? 0, type: 'response', flags: flags | dns.TRUNCATED_RESPONSE, questions });
}

const udp = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
udp.on('message', (message, from) => udp.send(answerTo(message, 'udp'), from.port, from.address));
udp.bind(PORT, address);
const tcp = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    const answer = answerTo(chunk.subarray(2), 'tcp');
    const length = Buffer.alloc(2);
    length.writeUInt16BE(answer.length);
    socket.write(Buffer.concat([length, answer]));
  });
});
tcp.listen(PORT, address);
await Promise.all([once(udp, 'listening'), once(tcp, 'listening')]);
console.log('{"listening":true}');
