// The node's own control socket, one per interface: a client sends one line of JSON, `{"request":"status"}`, and gets
// one back, `{"answer":…}` or `{"error":…}`, some requests `{"told":…}` before it. Only its owner may connect. Not HTTP:
// `node:http` alone takes 8 MB of a node's memory.

import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import {
  ConfigError,
  codeOf,
  ERROR_CODES,
  type ErrorCode,
  messageOf,
  NodeError,
  type Problem,
  RingfenceError,
} from '../errors.ts';
import type { Asker, ControlTarget, NodeRequest, NodeStatus } from './target.ts';
import { UnixServer } from './unix-server.ts';

const SUFFIX = '.sock';
/** A client that is slow to ask or to read is let go. */
const TIMEOUT_MS = 10_000;
/** A node that is slow to answer is given up: soon for its status, which it always has, later for what it has to do first. */
const STATUS_TIMEOUT_MS = 10_000;
const WORK_TIMEOUT_MS = 120_000;
const LARGEST_REQUEST_BYTES = 4096;
/** What a client has not read yet, before it is no longer told of things that come while it waits. */
const MOST_UNREAD_BYTES = 256 * 1024;
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
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

/**
 * Asks a running node for its status; null when none answers on its socket: there is none, or a stale one.
 * @throws NodeError `ERR_NODE_NOT_RUNNING` when something is there but gives no sensible answer
 */
export function askStatus(directory: string, interfaceName: string): Promise<NodeStatus | null> {
  const options = { timeoutMs: STATUS_TIMEOUT_MS };
  return exchange<NodeStatus>(directory, interfaceName, { request: 'status' }, options);
}

export interface AskOptions {
  /** A node that says nothing for so long is given up. */
  readonly timeoutMs?: number;
  /** What it says before its answer. */
  readonly onTold?: (word: unknown) => void;
  /** Tells the node that we wait for no more than the answer. */
  readonly stop?: AbortSignal;
}

/**
 * Has a running node do something and gives its answer; null when none answers on its socket.
 * @throws what the node says stands against it, by its code; NodeError `ERR_NODE_NOT_RUNNING` when it gives no sensible answer
 */
export function askNode<T>(
  directory: string,
  interfaceName: string,
  request: NodeRequest,
  options: AskOptions = {},
): Promise<T | null> {
  return exchange<T>(directory, interfaceName, request, options);
}

async function exchange<T>(
  directory: string,
  interfaceName: string,
  request: NodeRequest,
  options: AskOptions,
): Promise<T | null> {
  const path = socketPath(directory, interfaceName);
  let answer: Answer;
  try {
    answer = await ask(path, request, options);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return null;
    const hint = code === 'EACCES' ? 'run this as the user the node runs as, such as root' : undefined;
    throw new NodeError('ERR_NODE_NOT_RUNNING', `the node on ${interfaceName} does not answer at ${path}`, {
      hint,
      cause: error,
    });
  }
  if ('error' in answer) throw errorOf(answer.error);
  return answer.answer as T;
}

/**
 * Serves `target` on the socket of `interfaceName`, taking the place of a stale one.
 * @throws NodeError `ERR_NODE_INTERFACE` when a live node has the socket, `ERR_NODE_SOCKET` when it cannot be made
 */
export async function serveNode(
  directory: string,
  interfaceName: string,
  target: ControlTarget,
): Promise<UnixServer> {
  await refuseSecond(directory, interfaceName);
  return await UnixServer.listen(
    { path: socketPath(directory, interfaceName) },
    (client) => void serve(target, client),
    'set RINGFENCE_RUN_DIR to a directory this user may write to',
  );
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

type Answer = { readonly answer: unknown } | { readonly error: Refusal };

/** An error on its way to the client. */
interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
  /** Of a configuration: what is wrong, and where. */
  readonly problems?: readonly Problem[];
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof ConfigError) {
    return { code: error.code, message: error.message, hint: error.hint, problems: error.problems };
  }
  if (error instanceof RingfenceError) return { code: error.code, message: error.message, hint: error.hint };
  return { code: 'ERR_INTERNAL', message: messageOf(error) };
}

/** A node of another version may know codes that are not ours. */
function errorOf({ code, message, hint, problems = [] }: Refusal): RingfenceError {
  const [first, ...more] = problems;
  if (first !== undefined) return new ConfigError([first, ...more]);
  return new NodeError(Object.hasOwn(ERROR_CODES, code) ? code : 'ERR_INTERNAL', message, { hint });
}

/** Reads one request, answers it and hangs up. A client that breaks off or sends rubbish concerns nobody else. */
async function serve(target: ControlTarget, client: Socket): Promise<void> {
  client.setTimeout(TIMEOUT_MS, () => client.destroy());
  try {
    let line = '';
    await readLines(client, LARGEST_REQUEST_BYTES, (first) => {
      line = first;
      return true;
    });
    client.setTimeout(0); // now it is the client who waits
    const answered = JSON.stringify(await answer(target, line, askerOf(client)));
    client.setTimeout(TIMEOUT_MS);
    client.end(`${answered}\n`);
  } catch {
    client.destroy();
  }
}

function askerOf(client: Socket): Asker {
  const gone = new AbortController();
  for (const event of ['end', 'close'] as const) client.once(event, () => gone.abort());
  if (client.readableEnded || client.destroyed) gone.abort();
  client.resume(); // nothing more is expected, but its end
  const tell = (word: unknown): boolean => {
    if (client.destroyed || client.writableLength > MOST_UNREAD_BYTES) return false;
    client.write(`${JSON.stringify({ told: word })}\n`);
    return true;
  };
  return { tell, gone: gone.signal };
}

async function answer(target: ControlTarget, line: string, asker: Asker): Promise<Answer> {
  try {
    const asked = parseRequest(line);
    if (asked.request === 'status') return { answer: await target.status() };
    const handle = Object.hasOwn(target.requests, asked.request) ? target.requests[asked.request] : undefined;
    if (handle === undefined) {
      throw new NodeError('ERR_NODE_REQUEST', 'there is no such request here', {
        hint: 'an interface without a file, as of `ringfence IFACE`, is changed by `wg`; else that node is of another version',
      });
    }
    return { answer: await handle(asked, asker) };
  } catch (error) {
    return { error: refusalOf(error) };
  }
}

function parseRequest(line: string): NodeRequest {
  let asked: unknown;
  try {
    asked = JSON.parse(line);
  } catch {
    asked = null;
  }
  const isRequest =
    typeof asked === 'object' && asked !== null && 'request' in asked && typeof asked.request === 'string';
  if (!isRequest) throw new NodeError('ERR_NODE_REQUEST', 'this is no request');
  return asked as NodeRequest;
}

async function ask(path: string, request: NodeRequest, options: AskOptions): Promise<Answer> {
  const { timeoutMs = WORK_TIMEOUT_MS, onTold = () => {}, stop } = options;
  const socket = connect(path);
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)));
  socket.write(`${JSON.stringify(request)}\n`);
  const end = (): void => void socket.end();
  stop?.addEventListener('abort', end, { once: true });
  try {
    let last: Answer | undefined;
    await readLines(socket, LARGEST_ANSWER_BYTES, (line) => {
      const said = JSON.parse(line) as Answer | { readonly told: unknown };
      if ('told' in said) onTold(said.told);
      else last = said;
      return last !== undefined;
    });
    return last as Answer;
  } finally {
    stop?.removeEventListener('abort', end);
    socket.destroy();
  }
}

/**
 * Gives each line, without its end, to `take`, until that says it was the last; what follows it is dropped. Rejects when
 * the stream fails or ends before, when a line is too long, and when `take` throws.
 */
function readLines(socket: Socket, limitBytes: number, take: (line: string) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let parts: Buffer[] = [];
    let size = 0;
    const add = (part: Buffer): void => {
      parts.push(part);
      size += part.length;
      if (size > limitBytes) throw new Error(`a line of more than ${limitBytes} bytes`);
    };
    const read = (data: Buffer): void => {
      let start = 0;
      for (let end = data.indexOf(0x0a); end >= 0; end = data.indexOf(0x0a, start)) {
        add(data.subarray(start, end));
        start = end + 1;
        const line = Buffer.concat(parts).toString('utf8');
        [parts, size] = [[], 0];
        if (!take(line)) continue;
        socket.off('data', onData);
        resolve();
        return;
      }
      add(data.subarray(start));
    };
    const onData = (data: Buffer): void => {
      try {
        read(data);
      } catch (error) {
        socket.off('data', onData);
        reject(error instanceof Error ? error : new Error(messageOf(error)));
      }
    };
    socket.on('data', onData);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection ended before the line did')));
  });
}
