// A program, run in the namespaces by traffic.ts: bytes over TCP with their SHA-256 at both ends, and UDP datagrams that
// come back. Uses nothing but Node.js, so that it starts fast. What it says is JSON, one object per line, on stdout.
//
//   transfer.ts receive ADDRESS [0 STREAMS]         → {"port"}, then {"bytes","sha256","seconds"} for each stream
//   transfer.ts send ADDRESS PORT BYTES [STREAMS]   → {"bytes","sha256","seconds"} for each stream
//   transfer.ts sink ADDRESS              → {"port"}, then {"bytes","seconds"}: as fast as it goes, so without digest
//   transfer.ts flood ADDRESS PORT SECONDS
//   transfer.ts echo-server ADDRESS       → {"port"}, then runs until it is stopped
//   transfer.ts echo ADDRESS PORT SIZE…   → {"size","echoed","rttMs"} each

import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv6, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';

const CHUNK_BYTES = 256 * 1024;
const ECHO_DEADLINE_MS = 5_000;

function report(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Listens on a free port, says which, and takes one connection. */
async function accept(address: string): Promise<{ socket: Socket; began: number }> {
  const server = createServer();
  server.listen(0, address);
  await once(server, 'listening');
  const bound = server.address();
  report({ port: bound !== null && typeof bound === 'object' ? bound.port : 0 });
  const [socket] = await once(server, 'connection');
  server.close();
  return { socket, began: performance.now() };
}

async function receiveStreams(address: string, count: number): Promise<void> {
  const server = createServer();
  server.listen(0, address);
  await once(server, 'listening');
  const bound = server.address();
  report({ port: bound !== null && typeof bound === 'object' ? bound.port : 0 });
  const streams: Promise<void>[] = [];
  await new Promise<void>((resolve) => {
    server.on('connection', (socket) => {
      streams.push(receive({ socket, began: performance.now() }));
      if (streams.length === count) resolve();
    });
  });
  server.close();
  await Promise.all(streams);
}

async function receive({ socket, began }: { socket: Socket; began: number }): Promise<void> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of socket) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  report({ bytes, sha256: hash.digest('hex'), seconds: (performance.now() - began) / 1000 });
}

async function send(address: string, port: number, bytes: number): Promise<void> {
  const socket = connect(port, address);
  await once(socket, 'connect');
  const hash = createHash('sha256');
  const began = performance.now();
  await pipeline(content(bytes, hash), socket);
  report({ bytes, sha256: hash.digest('hex'), seconds: (performance.now() - began) / 1000 });
}

async function sink(address: string): Promise<void> {
  const { socket, began } = await accept(address);
  let bytes = 0;
  for await (const chunk of socket) bytes += chunk.length;
  report({ bytes, seconds: (performance.now() - began) / 1000 });
}

async function flood(address: string, port: number, seconds: number): Promise<void> {
  const socket = connect(port, address);
  await once(socket, 'connect');
  const end = performance.now() + seconds * 1000;
  await pipeline(function* () {
    const chunk = randomBytes(CHUNK_BYTES);
    while (performance.now() < end) yield chunk;
  }, socket);
}

/** Random bytes, made anew for each chunk, so that a chunk lost, doubled or moved changes the digest. */
function* content(bytes: number, hash: { update(chunk: Uint8Array): void }): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
    const chunk = randomBytes(Math.min(left, CHUNK_BYTES));
    hash.update(chunk);
    yield chunk;
  }
}

async function echoServer(address: string): Promise<void> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  socket.bind(0, address);
  await once(socket, 'listening');
  report({ port: socket.address().port });
}

async function echo(address: string, port: number, sizes: readonly number[]): Promise<void> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  for (const size of sizes) {
    const sent = randomBytes(size);
    const began = performance.now();
    const answer = once(socket, 'message', { signal: AbortSignal.timeout(ECHO_DEADLINE_MS) }).then(
      ([message]) => sent.equals(message),
      () => false,
    );
    socket.send(sent, port, address);
    report({ size, echoed: await answer, rttMs: performance.now() - began });
  }
  socket.close();
}

const [mode = '', address = '', port = '', ...numbers] = process.argv.slice(2);
switch (mode) {
  case 'receive':
    await receiveStreams(address, numbers[0] === undefined ? 1 : Number(numbers[0]));
    break;
  case 'send':
    await Promise.all(
      Array.from({ length: Number(numbers[1] ?? 1) }, () => send(address, Number(port), Number(numbers[0]))),
    );
    break;
  case 'sink':
    await sink(address);
    break;
  case 'flood':
    await flood(address, Number(port), Number(numbers[0]));
    break;
  case 'echo-server':
    await echoServer(address);
    break;
  case 'echo':
    await echo(address, Number(port), numbers.map(Number));
    break;
  default:
    process.stderr.write('usage: transfer.ts receive|send|sink|flood|echo-server|echo ADDRESS …\n');
    process.exitCode = 2;
}
