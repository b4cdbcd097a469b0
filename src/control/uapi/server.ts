// WireGuard's configuration protocol on a Unix socket, as `wg` speaks it: `get=1` and `set=1` with their lines, several
// on one connection, many connections. A request is taken whole before anything of it is done. No client delays another:
// each holds only what it sent, and what all of them hold is bounded.

import type { Socket } from 'node:net';
import { join } from 'node:path';
import { wipe } from '../../config/key.ts';
import { messageOf, NodeError } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { isServed, type ListenPlace, UnixServer } from '../unix-server.ts';
import { ERRNO } from './change.ts';
import type { UapiDevice } from './device.ts';
import { MOST_LINE_BYTES, SetParser } from './parse.ts';
import { renderErrno, renderGet } from './render.ts';

/** Where `wg` looks for the sockets of userspace interfaces. */
export const UAPI_DIRECTORY = '/var/run/wireguard';
/** Of one request: 10,000 peers are 2.5 MB, 130,000 allowed IPs 4 MB. */
const MOST_REQUEST_BYTES = 16 * 1024 * 1024;
/** Of all unfinished requests and unread answers together. */
const MOST_HELD_BYTES = 64 * 1024 * 1024;
/** In the middle of a request, or with an answer to read, a client may be silent this long; between them, for ever. */
const PATIENCE_MS = 10_000;
const NEWLINE = 0x0a;

/** The socket of an interface. */
export function uapiPath(interfaceName: string): string {
  return join(UAPI_DIRECTORY, `${interfaceName}.sock`);
}

/** @throws NodeError `ERR_NODE_INTERFACE` when another program serves this interface */
export async function refuseServed(interfaceName: string): Promise<void> {
  const path = uapiPath(interfaceName);
  if (!(await isServed(path))) return;
  throw new NodeError(
    'ERR_NODE_INTERFACE',
    `another program serves ${interfaceName}: it answers at ${path}`,
    {
      hint: 'stop it, or choose another name; all network namespaces share these sockets',
    },
  );
}

/** @throws NodeError `ERR_NODE_SOCKET` when the socket cannot be made; a stale one is replaced */
export async function serveUapi(place: ListenPlace, device: UapiDevice, log: Log): Promise<UnixServer> {
  const held = new Held();
  const serve = (client: Socket): void => void new Client(client, device, held, log).run();
  return await UnixServer.listen(
    place,
    serve,
    'this needs write access to /var/run/wireguard, as root has it',
  );
}

/** What all clients hold together. Too much, and the one that holds most is hung up on. */
class Held {
  readonly #bytes = new Map<Socket, number>();
  #total = 0;

  add(client: Socket, bytes: number): void {
    this.#total += bytes;
    this.#bytes.set(client, (this.#bytes.get(client) ?? 0) + bytes);
    if (this.#total <= MOST_HELD_BYTES) return;
    let [most, mostBytes] = [client, 0];
    for (const [one, held] of this.#bytes) if (held > mostBytes) [most, mostBytes] = [one, held];
    this.release(most);
    most.destroy();
  }

  release(client: Socket): void {
    this.#total -= this.#bytes.get(client) ?? 0;
    this.#bytes.delete(client);
  }
}

/** What a connection waits for. */
type State =
  | { readonly type: 'operation' }
  /** The blank line after `get=1`. */
  | { readonly type: 'get' }
  | { readonly type: 'set'; readonly parser: SetParser }
  /** The end of a request that was refused already. */
  | { readonly type: 'skip' };

const OPERATION: State = { type: 'operation' };

class Client {
  readonly #socket: Socket;
  readonly #device: UapiDevice;
  readonly #held: Held;
  readonly #log: Log;
  /** The beginning of a line whose end has not come yet. */
  readonly #partial = Buffer.alloc(MOST_LINE_BYTES + 1);
  #partialLength = 0;
  #requestBytes = 0;
  #state: State = OPERATION;

  constructor(socket: Socket, device: UapiDevice, held: Held, log: Log) {
    this.#socket = socket;
    this.#device = device;
    this.#held = held;
    this.#log = log;
  }

  /** Serves until the client hangs up or says what nobody understands. */
  async run(): Promise<void> {
    this.#socket.on('timeout', () => this.#socket.destroy());
    try {
      for await (const chunk of this.#socket as AsyncIterable<Buffer>) {
        try {
          if (!(await this.#takeChunk(chunk))) break;
        } finally {
          wipe(chunk);
        }
      }
      if (this.#state.type === 'set') await this.#answer(renderErrno(ERRNO.io));
    } catch (error) {
      if (!this.#socket.destroyed)
        this.#log.limited('uapi').warn(`a control request failed: ${messageOf(error)}`);
    } finally {
      this.#endRequest();
      wipe(this.#partial);
      this.#socket.destroySoon();
    }
  }

  /** False when the connection is to end. Waits only where an answer is due. */
  async #takeChunk(chunk: Buffer): Promise<boolean> {
    for (let start = 0; start < chunk.length; ) {
      const newline = chunk.indexOf(NEWLINE, start);
      const end = newline < 0 ? chunk.length : newline;
      const line = this.#joined(chunk.subarray(start, end), newline >= 0);
      start = end + 1;
      if (line === null) continue;
      const done = this.#takeLine(line);
      if (done === false || (done !== true && !(await done))) return false;
    }
    return true;
  }

  /** The line that ends with this part, or null while its end is not there. Of one too long, a line too long is left. */
  #joined(part: Buffer, isEnd: boolean): Buffer | null {
    if (isEnd && this.#partialLength === 0) return part;
    this.#partialLength += part.copy(this.#partial, this.#partialLength);
    if (!isEnd) return null;
    const line = this.#partial.subarray(0, this.#partialLength);
    this.#partialLength = 0;
    return line;
  }

  #takeLine(line: Buffer): boolean | Promise<boolean> {
    const state = this.#state;
    switch (state.type) {
      case 'operation':
        return this.#startOperation(line);
      case 'get':
        return line.length === 0 ? this.#get() : this.#refuse(ERRNO.invalid, false);
      case 'set':
        return line.length === 0 ? this.#set(state.parser) : this.#takeSetLine(state.parser, line);
      case 'skip':
        if (line.length === 0) this.#endRequest();
        return true;
      default:
        return state satisfies never;
    }
  }

  #startOperation(line: Buffer): boolean {
    const operation = line.toString('latin1');
    if (operation !== 'get=1' && operation !== 'set=1') return false;
    this.#state = operation === 'get=1' ? { type: 'get' } : { type: 'set', parser: new SetParser() };
    this.#socket.setTimeout(PATIENCE_MS);
    return true;
  }

  #takeSetLine(parser: SetParser, line: Buffer): boolean | Promise<boolean> {
    this.#requestBytes += line.length;
    this.#held.add(this.#socket, line.length);
    const errno = this.#requestBytes > MOST_REQUEST_BYTES ? ERRNO.io : parser.take(line);
    if (errno === ERRNO.ok) return true;
    return this.#refuse(errno, true);
  }

  /** Answers at once, as wireguard-go does: a client may wait for it without ever ending its request. */
  async #refuse(errno: number, goesOn: boolean): Promise<boolean> {
    this.#endRequest();
    this.#state = { type: 'skip' };
    await this.#answer(renderErrno(errno));
    return goesOn;
  }

  async #set(parser: SetParser): Promise<boolean> {
    const errno = await this.#device.set(parser.change);
    this.#endRequest();
    await this.#answer(renderErrno(errno));
    return true;
  }

  async #get(): Promise<boolean> {
    const answer = renderGet(await this.#device.get());
    this.#endRequest();
    this.#held.add(this.#socket, answer.length);
    await this.#answer(answer);
    return true;
  }

  /** Settles when the client has read it, as far as the kernel's buffer does not hold it; rejects when it is gone. */
  #answer(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.setTimeout(PATIENCE_MS);
      this.#socket.write(bytes, (error) => {
        wipe(bytes);
        this.#held.release(this.#socket);
        this.#socket.setTimeout(this.#state.type === 'operation' ? 0 : PATIENCE_MS);
        if (error) reject(error);
        else resolve();
      });
    });
  }

  #endRequest(): void {
    if (this.#state.type === 'set') this.#state.parser.wipe();
    this.#state = OPERATION;
    this.#socket.setTimeout(0);
    this.#requestBytes = 0;
    this.#held.release(this.#socket);
  }
}
