// Listens and knocks, as a process inside a namespace: a line of JSON on standard input asks, a line of JSON answers. Whoever
// knocks is told who served it and as whom it was seen. Driven by prober.ts.

import { createSocket } from 'node:dgram';
import { connect, createServer, isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';

type Request = {
  readonly id: number;
  readonly op: 'listen' | 'knock' | 'hold' | 'stream' | 'count' | 'flood' | 'hammer';
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
  readonly waitMs?: number;
  readonly source?: string;
};

/** Sent into a flow that is held open, by the id of its request. */
type Text = { readonly to: number; readonly text: string };

const [name = ''] = process.argv.slice(2);
/** What is open stays open until the process ends. */
const kept: unknown[] = [];

function answer(id: number, result: object): void {
  process.stdout.write(`${JSON.stringify({ id, ...result })}\n`);
}

function plain(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '');
}

function listen({ id, protocol, address, port }: Request): void {
  if (protocol === 'tcp') {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.write(
        `${JSON.stringify({ by: name, as: plain(socket.remoteAddress), at: socket.localPort })}\n`,
      );
      socket.pipe(socket);
    });
    server.on('error', (error) => answer(id, { error: error.message }));
    server.listen({ port, host: address, ipv6Only: isIPv6(address) }, () => answer(id, {}));
    kept.push(server);
    return;
  }
  const socket = createSocket(isIPv6(address) ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
  socket.on('message', (_, from) => {
    socket.send(JSON.stringify({ by: name, as: plain(from.address), at: port }), from.port, from.address);
  });
  socket.on('error', (error) => answer(id, { error: error.message }));
  socket.bind({ port, address }, () => answer(id, {}));
  kept.push(socket);
}

function knock(request: Request): void {
  const { id, protocol, address, port, source, waitMs = 5_000 } = request;
  let isDone = false;
  const done = (result: object): void => {
    if (isDone) return;
    isDone = true;
    clearTimeout(timer);
    answer(id, result);
    close();
  };
  let timer: NodeJS.Timeout | undefined;
  /** From when it is on its way: on a busy machine that takes a while. */
  const wait = (): void => {
    timer = setTimeout(() => done({ error: 'silence' }), waitMs);
  };
  let close = (): void => undefined;
  if (protocol === 'tcp') {
    const socket = connect({
      host: address,
      port,
      ...(source === undefined ? {} : { localAddress: source }),
    });
    close = () => socket.destroy();
    setImmediate(wait);
    socket.on('data', (data) => done(JSON.parse(String(data)) as object));
    socket.on('error', (error) => done({ error: 'code' in error ? String(error.code) : error.message }));
    return;
  }
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  close = () => socket.close();
  socket.on('message', (data) => done(JSON.parse(String(data)) as object));
  socket.on('error', (error) => done({ error: 'code' in error ? String(error.code) : error.message }));
  const begin = (): void => {
    socket.connect(port, address, (error?: Error) => {
      if (error) return done({ error: error.message });
      socket.send('knock', wait);
    });
  };
  if (source === undefined) begin();
  else socket.bind({ address: source }, begin);
}

const held = new Map<number, ReturnType<typeof connect>>();

/** A TCP flow that stays open: each line it is sent comes back, and is told as an answer of its own. */
function hold({ id, address, port }: Request): void {
  const socket = connect({ host: address, port });
  held.set(id, socket);
  socket.on('error', (error) => answer(id, { error: error.message }));
  createInterface({ input: socket })
    .on('line', (text) => answer(id, { text }))
    .on('error', () => undefined); // said above
}

/** Datagrams without end from one socket; what comes back, and each that is refused, is told. */
function stream({ id, address, port }: Request): void {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  socket.on('message', (data) => answer(id, JSON.parse(String(data)) as object));
  const fail = (error: Error) => answer(id, { error: 'code' in error ? String(error.code) : error.message });
  socket.on('error', fail);
  socket.connect(port, address, () => {
    // A refusal is told by the next receipt or by the next send.
    setInterval(() => socket.send('more', (error) => (error ? fail(error) : answer(id, { sent: true }))), 20);
  });
}

/** Counts the datagrams that come to a port, and tells every 200 ms how many there were. */
function count({ id, address, port }: Request): void {
  let received = 0;
  const socket = createSocket(isIPv6(address) ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
  socket.on('message', () => {
    received += 1;
  });
  socket.bind({ port, address }, () => setInterval(() => answer(id, { received }), 200));
}

/** Datagrams to a port as fast as they go, until the process ends, and every 200 ms how many there were. */
function flood({ id, address, port }: Request): void {
  let sent = 0;
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  // The callback of a send comes before any timer does: turns, so that others get theirs.
  const turn = (): void => {
    for (let i = 0; i < 256 && socket.getSendQueueCount() < 256; i++) {
      sent += 1;
      socket.send('flood');
    }
    setImmediate(turn);
  };
  socket.on('error', () => undefined); // a refusal is one that did not get through
  socket.connect(port, address, turn);
  setInterval(() => answer(id, { sent }), 200);
}

/** TCP connections to a port, some at a time, until the process ends, and every 200 ms how many got through and did not. */
function hammer({ id, address, port }: Request): void {
  const told = { passed: 0, refused: 0 };
  const strike = (): void => {
    const socket = connect({ host: address, port });
    socket.on('connect', () => {
      told.passed += 1;
      socket.destroy();
    });
    socket.on('error', () => {
      told.refused += 1;
    });
    socket.on('close', () => setImmediate(strike));
  };
  for (let i = 0; i < 8; i++) strike();
  setInterval(() => answer(id, told), 200);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request | Text;
  if ('to' in request) held.get(request.to)?.write(`${request.text}\n`);
  else ({ listen, knock, hold, stream, count, flood, hammer })[request.op](request);
}
process.exit(0);
