// A Unix socket that serves its owner only: born under a narrow umask, in the place of a stale one, removed at the end.
// Bounded in clients: one more, and the one that has been here longest makes room. Knows no protocol.

import { mkdirSync, statSync, unlinkSync, watch } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { codeOf, messageOf, NodeError } from '../errors.ts';

/** One more, and somebody makes room. */
const MOST_CONNECTIONS = 256;

/** A path to make, or a listening descriptor that somebody has made, and which is ours from then on. */
export type ListenPlace = { readonly path: string } | { readonly fd: number };

export class UnixServer {
  readonly #server: Server;
  readonly #clients: ReadonlySet<Socket>;

  private constructor(server: Server, clients: ReadonlySet<Socket>) {
    this.#server = server;
    this.#clients = clients;
  }

  /**
   * Calls `serve` for each client. A socket in the way is taken for stale: ask {@link isServed} before.
   * @param hint what to do when the socket cannot be made
   * @throws NodeError `ERR_NODE_SOCKET` when the socket cannot be made
   */
  static async listen(
    place: ListenPlace,
    serve: (client: Socket) => void,
    hint: string,
  ): Promise<UnixServer> {
    const clients = new Set<Socket>();
    // A client may close its sending half and wait for the answer.
    const server = createServer({ allowHalfOpen: true }, (client) => {
      if (clients.size >= MOST_CONNECTIONS) makeRoom(clients);
      clients.add(client);
      client.once('close', () => clients.delete(client));
      client.on('error', () => client.destroy());
      serve(client);
    });
    // The socket is born unreadable by others: there is no moment in which they could connect.
    const umask = process.umask();
    try {
      if ('path' in place) {
        mkdirSync(dirname(place.path), { recursive: true, mode: 0o755 });
        removeStale(place.path);
      }
      process.umask(0o077);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(place, () => resolve());
      });
    } catch (error) {
      const what = 'path' in place ? `make the socket ${place.path}` : `listen on the descriptor ${place.fd}`;
      throw new NodeError('ERR_NODE_SOCKET', `cannot ${what}: ${messageOf(error)}`, { hint, cause: error });
    } finally {
      process.umask(umask);
    }
    server.on('error', () => {}); // a client's fault; the next one is served
    return new UnixServer(server, clients);
  }

  /** Stops serving and removes the socket. */
  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve())); // unlinks the socket
  }
}

/** Whether somebody answers there: then it is not stale. */
export function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const answer = (isServed: boolean): void => {
      socket.destroy();
      resolve(isServed);
    };
    socket.once('connect', () => answer(true));
    // EAGAIN: a queue of clients waits there already.
    socket.once('error', (error) => answer(codeOf(error) === 'EAGAIN'));
  });
}

/**
 * Calls `onRemoved` once when the socket at `path` is removed or replaced, which is how one asks a userspace interface to
 * end. Null where the system watches no more files.
 */
export function watchSocket(path: string, onRemoved: () => void): Disposable | null {
  const inode = inodeOf(path);
  const isGone = (): boolean => inodeOf(path) !== inode;
  try {
    const watcher = watch(dirname(path), () => {
      if (!isGone()) return;
      watcher.close();
      onRemoved();
    });
    watcher.on('error', () => {}); // the directory itself is gone: its files were reported before
    return { [Symbol.dispose]: () => watcher.close() };
  } catch {
    return null;
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function makeRoom(clients: Set<Socket>): void {
  const [longest] = clients;
  if (longest === undefined) return;
  clients.delete(longest);
  longest.destroy();
}

function removeStale(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}
