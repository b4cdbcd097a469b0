// One question to one name server: over UDP, and over TCP when the answer does not fit. Every exchange has a socket of its
// own, so its port is as hard to guess as its id (RFC 5452).

import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { renderIp } from '../address/ip.ts';
import type { NameServer } from '../policy/names.ts';
import { isAnswerTo, isTruncated, MOST_TCP_LENGTH } from './wire.ts';

/** @param asked a message of `encodeForward`; rejects when the signal says so, or when the server cannot be reached */
export async function exchange(server: NameServer, asked: Buffer, signal: AbortSignal): Promise<Buffer> {
  const answer = await overUdp(server, asked, signal);
  return isTruncated(answer) ? await overTcp(server, asked, signal) : answer;
}

/** What answers something else, or comes from elsewhere, is not waited for less: the true answer may still come. */
async function overUdp({ address, port }: NameServer, asked: Buffer, signal: AbortSignal): Promise<Buffer> {
  signal.throwIfAborted();
  const socket = createSocket(address.version === 4 ? 'udp4' : 'udp6');
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort);
  try {
    socket.on('error', reject); // a port that nobody listens on
    socket.on('message', (message) => {
      if (isAnswerTo(asked, message)) resolve(message);
    });
    socket.on('connect', () => socket.send(asked));
    socket.connect(port, renderIp(address)); // from then on it takes datagrams of this server only
    return await promise;
  } finally {
    signal.removeEventListener('abort', abort);
    socket.close();
  }
}

async function overTcp({ address, port }: NameServer, asked: Buffer, signal: AbortSignal): Promise<Buffer> {
  signal.throwIfAborted();
  const socket = connect({ host: renderIp(address), port, signal });
  try {
    socket.write(Buffer.concat([lengthPrefix(asked), asked]));
    for await (const message of messagesOf(socket, MOST_TCP_LENGTH)) {
      if (isAnswerTo(asked, message)) return message;
    }
  } finally {
    socket.destroy();
  }
  throw new Error('the server closed the connection without an answer');
}

/** RFC 1035 §4.2.2. */
export function lengthPrefix(message: Buffer): Buffer {
  const prefix = Buffer.alloc(2);
  prefix.writeUInt16BE(message.length);
  return prefix;
}

/** The messages of a TCP connection, until one is longer than `limit` or the connection ends. */
export async function* messagesOf(chunks: AsyncIterable<Buffer>, limit: number): AsyncGenerator<Buffer> {
  let waiting = Buffer.alloc(0);
  for await (const chunk of chunks) {
    waiting = Buffer.concat([waiting, chunk]);
    for (;;) {
      if (waiting.length < 2) break;
      const length = waiting.readUInt16BE(0);
      if (length > limit) return;
      if (waiting.length < 2 + length) break;
      yield waiting.subarray(2, 2 + length);
      waiting = waiting.subarray(2 + length);
    }
  }
}
