// Run in a host: either end of flows that both ends send on without end, driven by live-flows.ts. A line `heard FLOW` says that
// this end was sent twenty messages, a line `bound` that all servers listen.
//
//   talk.ts '{"port":…,"serve":[{"protocol","address"}…],"call":[{"name","protocol","source","address","isMute"}…]}'

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv6, type Socket } from 'node:net';
import type { Call, Served } from './live-flows.ts';

const ENOUGH = 20;
const INTERVAL_MS = 5;

const request = JSON.parse(process.argv[2] ?? '') as {
  readonly port: number;
  readonly serve: readonly Served[];
  readonly call: readonly Call[];
};

/** Counts what this end is sent, and says once that it is enough. */
function hearing(name: string): () => void {
  let heard = 0;
  return () => {
    heard += 1;
    if (heard === ENOUGH) console.log(`heard ${name}`);
  };
}

function talk(socket: Socket, name: string): void {
  socket.on('data', hearing(name)).on('error', () => undefined);
  setInterval(() => socket.write('more'), INTERVAL_MS);
}

async function serve({ protocol, address }: Served): Promise<void> {
  const name = `${protocol} ${address}`;
  if (protocol === 'tcp') {
    const server = createServer((socket) => talk(socket, name)).listen(request.port, address);
    await once(server, 'listening');
    return;
  }
  const socket = udp(address);
  const heard = hearing(name);
  const known = new Set<string>();
  socket.on('message', (_, { address: to, port }) => {
    heard();
    if (known.has(`${to} ${port}`)) return;
    known.add(`${to} ${port}`);
    setInterval(() => socket.send('more', port, to), INTERVAL_MS);
  });
  socket.bind(request.port, address);
  await once(socket, 'listening');
}

function call({ name, protocol, source, address, isMute }: Call): void {
  const { port } = request;
  if (protocol === 'tcp') {
    talk(connect({ host: address, port, localAddress: source }), name);
    return;
  }
  const socket = udp(address);
  const heard = hearing(name);
  socket.on('message', heard);
  socket.bind(0, source, () => {
    socket.send('first', port, address);
    if (!isMute) setInterval(() => socket.send('more', port, address), INTERVAL_MS);
  });
}

function udp(address: string): UdpSocket {
  // A refusal is the end of nothing: the other side may be let in again.
  return createSocket(isIPv6(address) ? 'udp6' : 'udp4').on('error', () => undefined);
}

await Promise.all(request.serve.map(serve));
console.log('bound');
for (const one of request.call) call(one);
