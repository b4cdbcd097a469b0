// A program, run in a namespace: initiations with a valid mac1 and nothing else right, at a steady rate.
//
//   flood.ts TARGET PORT PUBLIC_KEY RATE SECONDS ADDRESS…   → {"ready"}, then {"sent"} at the end; PUBLIC_KEY in base64, and
//                                                            one socket per ADDRESS, which send in turn

import { randomFillSync } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { INITIATION_BYTES, writeMacs } from './noise.ts';

/** Messages made in advance and sent over and over: each source is judged by itself, not by what it sends. */
const MESSAGES = 1_000;

function report(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

async function open(address: string): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('error', () => {}); // what the flooded host makes of it is seen there
  socket.bind(0, address);
  await once(socket, 'listening');
  return socket;
}

const [target = '', port = '', publicKey = '', rate = '', seconds = '', ...addresses] = process.argv.slice(2);
const key = Buffer.from(publicKey, 'base64');
const sockets = await Promise.all(addresses.map(open));
const messages = Array.from({ length: MESSAGES }, () => {
  const message = randomFillSync(Buffer.alloc(INITIATION_BYTES));
  message.writeUInt32LE(1, 0);
  return writeMacs(message, key);
});
report({ ready: sockets.length });

const start = performance.now();
const total = Number(rate) * Number(seconds);
let sent = 0;
while (sent < total) {
  const due = Math.min(total, Math.floor(((performance.now() - start) / 1_000) * Number(rate)));
  for (; sent < due; sent++) {
    sockets[sent % sockets.length]?.send(messages[sent % MESSAGES] ?? '', Number(port), target);
  }
  await delay(1);
}
report({ sent });
process.exit();
