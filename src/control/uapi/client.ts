// The asking end of the UAPI (wireguard.com/xplatform): one request, one answer. Keys go as bytes, so that they can be
// wiped; any implementation may be at the other end.

import { connect } from 'node:net';
import { codeOf, NodeError } from '../../errors.ts';
import { uapiPath } from './server.ts';

const TIMEOUT_MS = 10_000;
/** 10,000 peers with 13 allowed IPs each are about 8 MB. */
const LARGEST_ANSWER_BYTES = 64 * 1024 * 1024;
/** What ends each answer: an empty line. */
const END = Buffer.from('\n\n');

/**
 * Sends `request` to the device of an interface and gives the answer as bytes, which the caller wipes.
 * @throws NodeError `ERR_NODE_NOT_RUNNING` when nothing answers, `ERR_NODE_DEVICE` when the answer is an errno
 */
export async function askDevice(interfaceName: string, request: Uint8Array): Promise<Uint8Array> {
  const socketPath = uapiPath(interfaceName);
  let answer: Buffer;
  try {
    answer = await exchange(socketPath, request);
  } catch (error) {
    const hint = codeOf(error) === 'EACCES' ? 'run this as root' : 'is the interface up?';
    const message = `no WireGuard device answers at ${socketPath}`;
    throw new NodeError('ERR_NODE_NOT_RUNNING', message, { hint, cause: error });
  }
  const errno = /^errno=(-?\d+)$/m.exec(
    answer.toString('latin1', Math.max(0, answer.lastIndexOf('errno='))),
  )?.[1];
  if (errno === '0') return answer;
  answer.fill(0);
  throw new NodeError(
    'ERR_NODE_DEVICE',
    `the device at ${socketPath} refused the request: errno ${errno ?? 'missing'}`,
  );
}

function exchange(path: string, request: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const chunks: Buffer[] = [];
    let length = 0;
    const isComplete = (): boolean => {
      const tail = Buffer.concat(chunks.slice(-2));
      return tail.subarray(-END.length).equals(END);
    };
    const end = (settle: () => void): void => {
      settle();
      for (const chunk of chunks) chunk.fill(0);
      socket.destroy();
    };
    const fail = (error: Error): void => end(() => reject(error));
    socket.setTimeout(TIMEOUT_MS, () => fail(new Error('no answer in time')));
    socket.once('error', fail);
    socket.once('close', () => fail(new Error('the connection was closed')));
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > LARGEST_ANSWER_BYTES) fail(new Error('the answer is too large'));
      else if (isComplete()) end(() => resolve(Buffer.concat(chunks)));
    });
    socket.write(request);
  });
}
