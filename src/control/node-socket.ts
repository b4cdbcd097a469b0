// The node's own control socket, one per interface: a client sends one line of JSON, `{"request":"status"}`, and gets
// one back. Only its owner may connect. Not HTTP: `node:http` alone takes 8 MB of a node's memory.

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
import type { ControlTarget, NodeRequest, NodeStatus } from './target.ts';
import { UnixServer } from './unix-server.ts';

const SUFFIX = '.sock';
/** A client that is slow to ask or to read is let go. */
const TIMEOUT_MS = 10_000;
/** A node that is slow to answer is given up: soon for its status, which it always has, later for what it has to do first. */
const STATUS_TIMEOUT_MS = 10_000;
const WORK_TIMEOUT_MS = 120_000;
const LARGEST_REQUEST_BYTES = 4096;
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
  return exchange<NodeStatus>(directory, interfaceName, { request: 'status' }, STATUS_TIMEOUT_MS);
}

/**
 * Has a running node do something and gives its answer; null when none answers on its socket.
 * @throws what the node says stands against it, by its code; NodeError `ERR_NODE_NOT_RUNNING` when it gives no sensible answer
 */
export function askNode<T>(
  directory: string,
  interfaceName: string,
  request: NodeRequest,
): Promise<T | null> {
  return exchange<T>(directory, interfaceName, request, WORK_TIMEOUT_MS);
}

async function exchange<T>(
  directory: string,
  interfaceName: string,
  request: NodeRequest,
  timeoutMs: number,
): Promise<T | null> {
  const path = socketPath(directory, interfaceName);
  let answer: Answer;
  try {
    answer = JSON.parse(await ask(path, request, timeoutMs)) as Answer;
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
    const line = await readLine(client, LARGEST_REQUEST_BYTES);
    client.setTimeout(0); // now it is the client who waits
    const answered = JSON.stringify(await answer(target, line));
    client.setTimeout(TIMEOUT_MS);
    client.end(`${answered}\n`);
  } catch {
    client.destroy();
  }
}

async function answer(target: ControlTarget, line: string): Promise<Answer> {
  try {
    const asked = parseRequest(line);
    if (asked.request === 'status') return { answer: await target.status() };
    const handle = Object.hasOwn(target.requests, asked.request) ? target.requests[asked.request] : undefined;
    if (handle === undefined) throw new NodeError('ERR_NODE_REQUEST', 'there is no such request here');
    return { answer: await handle(asked) };
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

async function ask(path: string, request: NodeRequest, timeoutMs: number): Promise<string> {
  const socket = connect(path);
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)));
  socket.write(`${JSON.stringify(request)}\n`);
  try {
    return await readLine(socket, LARGEST_ANSWER_BYTES);
  } finally {
    socket.destroy();
  }
}

/** One line, without its end. Rejects when the stream fails, ends before the line does, or the line is too long. */
function readLine(socket: Socket, limitBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    socket.on('data', (part: Buffer) => {
      const end = part.indexOf(0x0a);
      parts.push(end < 0 ? part : part.subarray(0, end));
      size += part.length;
      if (size > limitBytes) reject(new Error(`a line of more than ${limitBytes} bytes`));
      else if (end >= 0) resolve(Buffer.concat(parts).toString('utf8'));
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection ended before the line did')));
  });
}
