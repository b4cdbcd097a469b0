// A program, run on the router: a bad network between two hosts. What one sends to its side leaves on the other, lost,
// doubled or late as a generator with a fixed start value decides, so that a run can be repeated.
//
//   relay.ts SEED LOST DOUBLED LATE LATE_MS A B   → {"ready"}; LOST, DOUBLED and LATE in percent, A and B as
//                                                   OWN_ADDRESS/OWN_PORT/REMOTE_ADDRESS/REMOTE_PORT
//   SIGTERM                                       → {"passed","lost","doubled","late"}

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';

type Side = { readonly socket: Socket; readonly address: string; readonly port: number };

const [seed = 1, lost = 0, doubled = 0, late = 0, lateMs = 0] = process.argv.slice(2, 7).map(Number);
const [a = '', b = ''] = process.argv.slice(7);
const counts = { passed: 0, lost: 0, doubled: 0, late: 0 };

/** mulberry32: 32 bits of state are plenty for dice, and Node.js has no generator with a start value. */
let state = seed;
function percent(): number {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return (((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * 100;
}

async function open(text: string): Promise<Side> {
  const [own = '', ownPort, address = '', port] = text.split('/');
  const socket = createSocket({ type: isIPv6(own) ? 'udp6' : 'udp4', recvBufferSize: 4 * 1024 * 1024 });
  socket.on('error', () => undefined); // a network that refuses is one that loses
  socket.bind(Number(ownPort), own);
  await once(socket, 'listening');
  return { socket, address, port: Number(port) };
}

function join(from: Side, to: Side): void {
  const pass = (message: Uint8Array) => to.socket.send(message, to.port, to.address, () => undefined);
  from.socket.on('message', (message) => {
    if (percent() < lost) {
      counts.lost += 1;
      return;
    }
    const copies = percent() < doubled ? 2 : 1;
    counts.doubled += copies - 1;
    for (let copy = 0; copy < copies; copy++) {
      counts.passed += 1;
      if (percent() < late) {
        counts.late += 1;
        setTimeout(pass, (percent() / 100) * lateMs, message);
      } else pass(message);
    }
  });
}

const [left, right] = [await open(a), await open(b)];
join(left, right);
join(right, left);
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
process.on('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0));
});
