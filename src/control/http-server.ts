// Pages over HTTP for programs and people on this host: what they are is the caller's, who may ask and for how long is here.
// No page changes anything, so GET and HEAD are all there is. A web page that points its own name at this address (DNS
// rebinding) is refused by the name it asks for.

import { lstatSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { parseIp, renderIp } from '../address/ip.ts';
import { type ListenAddress, renderListen } from '../config/listen.ts';
import { codeOf, messageOf, NodeError } from '../errors.ts';

export interface Page {
  readonly contentType: string;
  readonly body: string;
}

export interface HttpOptions {
  readonly listen: ListenAddress;
  /** Names that a client may ask for, beside addresses and `localhost`; asked for at each request. */
  readonly hosts: () => readonly string[];
  /** By path. One page is made at a time: who asks meanwhile gets the same. */
  readonly pages: Readonly<Record<string, () => Promise<Page>>>;
}

/** A client gets this long to ask, and this long to read. */
const TIMEOUT_MS = 10_000;
const MOST_CONNECTIONS = 64;
const LARGEST_HEADER_BYTES = 8192;
const MOST_REQUESTS_PER_CONNECTION = 1000;

export class HttpServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * Serves from when this settles.
   * @throws NodeError `ERR_NODE_LISTEN` when the address or the socket cannot be had
   */
  static async listen({ listen, hosts, pages }: HttpOptions): Promise<HttpServer> {
    const server = createServer(
      {
        maxHeaderSize: LARGEST_HEADER_BYTES,
        headersTimeout: TIMEOUT_MS,
        requestTimeout: TIMEOUT_MS,
        keepAliveTimeout: TIMEOUT_MS,
        connectionsCheckingInterval: 1000,
        requireHostHeader: true,
      },
      answerWith(hosts, pages),
    );
    server.maxConnections = MOST_CONNECTIONS;
    server.maxRequestsPerSocket = MOST_REQUESTS_PER_CONNECTION;
    server.setTimeout(TIMEOUT_MS, (socket) => socket.destroy());
    try {
      await bind(server, listen);
    } catch (error) {
      throw new NodeError('ERR_NODE_LISTEN', `cannot serve at ${renderListen(listen)}: ${messageOf(error)}`, {
        hint: codeOf(error) === 'EADDRINUSE' ? 'another program is there: choose another' : undefined,
        cause: error,
      });
    }
    server.on('error', () => {}); // a client's fault; the next one is served
    return new HttpServer(server);
  }

  /** Stops serving, and removes the socket if it was one. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }
}

function answerWith(hosts: HttpOptions['hosts'], pages: HttpOptions['pages']) {
  const inWork = new Map<string, Promise<Page>>();
  const pageAt = (path: string, make: () => Promise<Page>): Promise<Page> => {
    const page = inWork.get(path) ?? make().finally(() => inWork.delete(path));
    inWork.set(path, page);
    return page;
  };
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    response.setHeader('Cache-Control', 'no-store');
    response.setHeader('X-Content-Type-Options', 'nosniff');
    const refusal = refusalOf(request, hosts());
    if (refusal !== null) {
      response.setHeader('Connection', 'close'); // what else it sent is not read
      return end(response, refusal);
    }
    const [path = ''] = (request.url ?? '').split('?');
    const make = Object.hasOwn(pages, path) ? pages[path] : undefined;
    if (make === undefined) return end(response, { status: 404, text: 'there is no such page' });
    try {
      const { contentType, body } = await pageAt(path, make);
      response.setHeader('Content-Type', contentType);
      response.end(request.method === 'HEAD' ? undefined : body);
    } catch (error) {
      end(response, { status: 500, text: messageOf(error) });
    }
  };
}

interface Refusal {
  readonly status: number;
  readonly text: string;
}

function refusalOf({ headers, method }: IncomingMessage, hosts: readonly string[]): Refusal | null {
  if (!isOurs(headers.host ?? '', hosts)) {
    return { status: 421, text: 'this is not the host you asked for; ask for its address' };
  }
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'GET and HEAD are all there is' };
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0;
  return hasBody ? { status: 413, text: 'a request has no body here' } : null;
}

/** Whether a Host header names an address, `localhost`, or a name that the file allows. */
function isOurs(header: string, hosts: readonly string[]): boolean {
  const [, bracketed, plain = ''] = /^(?:\[([^\]]+)\]|([^:]+))(?::[0-9]{1,5})?$/.exec(header) ?? [];
  if (bracketed !== undefined) return bracketed.includes(':') && parseIp(bracketed).ok;
  const name = plain.toLowerCase();
  const isNamed = hosts.some((host) => host.toLowerCase() === name);
  return name === 'localhost' || isNamed || parseIp(name).ok;
}

function end(response: ServerResponse, { status, text }: Refusal): void {
  response.statusCode = status;
  if (status === 405) response.setHeader('Allow', 'GET, HEAD');
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(`${text}\n`);
}

async function bind(server: Server, listen: ListenAddress): Promise<void> {
  if (listen.kind === 'address') {
    const { address, zone, port } = listen;
    const host = zone === null ? renderIp(address) : `${renderIp(address)}%${zone}`;
    return await start(() => server.listen({ host, port }), server);
  }
  if (await isStale(listen.path)) unlinkSync(listen.path);
  // The socket is born closed to others: there is no moment in which they could connect.
  const umask = process.umask(0o077);
  try {
    await start(() => server.listen(listen.path), server);
  } finally {
    process.umask(umask);
  }
}

function start(listen: () => void, server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    listen();
  });
}

/** Whether a socket is there that nobody answers on: what a node that was killed leaves behind. */
async function isStale(path: string): Promise<boolean> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return false;
  const client = connect(path);
  try {
    return await new Promise((resolve) => {
      client.once('connect', () => resolve(false));
      client.once('error', (error) => resolve(codeOf(error) === 'ECONNREFUSED'));
    });
  } finally {
    client.destroy();
  }
}
