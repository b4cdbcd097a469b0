// The node's own control socket: HTTP over a Unix socket, one per interface, so that any HTTP client can ask
// (`curl --unix-socket /run/ringfence/rf0.sock http://node/v1/status`). Only its owner may connect.

import { mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { NodeError } from '../errors.ts';
import type { ControlTarget, NodeStatus } from './target.ts';

const SUFFIX = '.sock';
/** A client that asks slowly or keeps its connection idle is let go. */
const CLIENT_TIMEOUT_MS = 10_000;
const MOST_CONNECTIONS = 64;
/** An answer larger than this is no node's: 10,000 peers are about 4 MB. */
const LARGEST_ANSWER_BYTES = 64 * 1024 * 1024;

/** Where the sockets are: `$RINGFENCE_RUN_DIR`, or /run/ringfence. */
export function runDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return environment['RINGFENCE_RUN_DIR'] || '/run/ringfence';
}

function socketPath(directory: string, interfaceName: string): string {
  return join(directory, `${interfaceName}${SUFFIX}`);
}

/** The interfaces that have a socket here, alive or not. */
export function listInterfaces(directory: string): string[] {
  try {
    const names = readdirSync(directory).filter((name) => name.endsWith(SUFFIX));
    return names.map((name) => name.slice(0, -SUFFIX.length)).sort();
  } catch (error) {
    if (isCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/**
 * Asks a running node for its status; null when none answers on its socket: there is none, or a stale one.
 * @throws NodeError `ERR_NODE_NOT_RUNNING` when something is there but gives no sensible answer
 */
export async function askStatus(directory: string, interfaceName: string): Promise<NodeStatus | null> {
  const path = socketPath(directory, interfaceName);
  try {
    return JSON.parse(await get(path, '/v1/status')) as NodeStatus;
  } catch (error) {
    if (isCode(error, 'ENOENT') || isCode(error, 'ECONNREFUSED')) return null;
    const hint = isCode(error, 'EACCES') ? 'run this as the user the node runs as, such as root' : undefined;
    throw new NodeError('ERR_NODE_NOT_RUNNING', `the node on ${interfaceName} does not answer at ${path}`, {
      hint,
      cause: error,
    });
  }
}

/** The serving end. */
export class NodeSocket {
  readonly #server: Server;
  readonly #path: string;

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.#path = path;
  }

  /**
   * Serves `target` on the socket of `interfaceName`, taking the place of a stale one.
   * @throws NodeError `ERR_NODE_INTERFACE` when a live node has the socket, or it cannot be made
   */
  static async listen(directory: string, interfaceName: string, target: ControlTarget): Promise<NodeSocket> {
    const path = socketPath(directory, interfaceName);
    await refuseSecond(directory, interfaceName);
    const server = createServer((message, response) => void answer(target, message, response));
    server.maxConnections = MOST_CONNECTIONS;
    server.requestTimeout = CLIENT_TIMEOUT_MS;
    server.keepAliveTimeout = 1;
    // The socket is born unreadable by others: there is no moment in which they could connect.
    const umask = process.umask(0o077);
    try {
      mkdirSync(directory, { recursive: true, mode: 0o755 });
      removeStale(path);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(path, () => resolve());
      });
    } catch (error) {
      throw new NodeError(
        'ERR_NODE_INTERFACE',
        `cannot make the control socket ${path}: ${messageOf(error)}`,
        {
          hint: 'set RINGFENCE_RUN_DIR to a directory this user may write to',
          cause: error,
        },
      );
    } finally {
      process.umask(umask);
    }
    server.on('error', () => {}); // a client's fault; the next one is served
    return new NodeSocket(server, path);
  }

  /** Stops serving and removes the socket. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    removeStale(this.#path);
  }
}

/** @throws NodeError when a live node serves this interface */
export async function refuseSecond(directory: string, interfaceName: string): Promise<void> {
  const running = await askStatus(directory, interfaceName);
  if (running === null) return;
  throw new NodeError(
    'ERR_NODE_INTERFACE',
    `a node for ${interfaceName} runs already, as process ${running.pid}`,
    {
      hint: `stop it, name another interface, or set RINGFENCE_RUN_DIR if it is in another network namespace`,
    },
  );
}

async function answer(
  target: ControlTarget,
  message: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  message.resume(); // no request here has a body
  const send = (code: number, body: unknown): void => {
    response.writeHead(code, { 'content-type': 'application/json' });
    response.end(`${JSON.stringify(body)}\n`);
  };
  try {
    if (message.method !== 'GET') send(405, { error: 'only GET' });
    else if (message.url === '/v1/status') send(200, await target.status());
    else send(404, { error: 'there is /v1/status' });
  } catch (error) {
    send(500, { error: messageOf(error) });
  }
}

function get(path: string, url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: path, path: url, timeout: CLIENT_TIMEOUT_MS }, (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on('data', (part: Buffer) => {
        size += part.length;
        parts.push(part);
        if (size > LARGEST_ANSWER_BYTES) asked.destroy(new Error('the answer has no end'));
      });
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`status ${response.statusCode}: ${text.trim()}`));
      });
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer in 10 s')));
    asked.on('error', reject);
    asked.end();
  });
}

function removeStale(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
