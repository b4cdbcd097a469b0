// Port 53 of the overlay addresses, UDP and TCP: bytes in, bytes out. Who is no peer gets no answer, on no address and by no
// transport; what one peer may hold open is limited, so that the others have their share.

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server as TcpServer, type Socket as TcpSocket } from 'node:net';
import { type IpAddress, parseIp, renderIp } from '../address/ip.ts';
import { NodeError } from '../errors.ts';
import type { Asker } from './access.ts';
import { lengthPrefix, messagesOf } from './exchange.ts';
import { OUTCOMES, type Outcome, type Resolver } from './resolver.ts';

const DNS_PORT = 53;
const CONNECTION_LIMIT = 128;
const CONNECTION_LIMIT_PER_ASKER = 8;
/** RFC 7766 §6.2.3: a few seconds. */
const IDLE_MS = 10_000;
/** No question is as long. */
const QUESTION_LENGTH_LIMIT = 4_096;
/** What waits to be sent to those who do not take it; beyond, answers are dropped, as a full network would. */
const SEND_QUEUE_LIMIT = 1024 * 1024;

/** Both sockets of one address. */
interface Listener {
  readonly udp: UdpSocket;
  readonly tcp: TcpServer;
}

export class DnsServer {
  readonly #port: number;
  #resolver: Resolver;
  readonly #listeners = new Map<string, Listener>();
  readonly #connections = new Map<TcpSocket, string>();
  readonly #counts = new Map<Outcome, number>(OUTCOMES.map((outcome) => [outcome, 0]));

  /** Listens nowhere yet. */
  constructor(resolver: Resolver, port = DNS_PORT) {
    this.#resolver = resolver;
    this.#port = port;
  }

  /** How questions ended, since the start. */
  get counts(): ReadonlyMap<Outcome, number> {
    return this.#counts;
  }

  /** Answers by another policy from the next question on. */
  use(resolver: Resolver): void {
    this.#resolver = resolver;
  }

  /** @throws NodeError `ERR_NODE_LISTEN` when one cannot be had; it listens then where it did before */
  async listen(addresses: readonly IpAddress[]): Promise<void> {
    const added: string[] = [];
    try {
      for (const address of addresses) {
        const text = renderIp(address);
        if (this.#listeners.has(text)) continue;
        this.#listeners.set(text, await this.#open(address, text));
        added.push(text);
      }
    } catch (error) {
      for (const text of added) await this.#close(text);
      throw error;
    }
  }

  /** Ends what is not of these addresses. */
  async keepOnly(addresses: readonly IpAddress[]): Promise<void> {
    const kept = new Set(addresses.map(renderIp));
    for (const text of [...this.#listeners.keys()]) if (!kept.has(text)) await this.#close(text);
  }

  async #open(address: IpAddress, text: string): Promise<Listener> {
    const isV6 = address.version === 6; // libuv takes ipv6Only for nothing else
    const udp = createSocket({ type: isV6 ? 'udp6' : 'udp4', ipv6Only: isV6 });
    const tcp = createServer((socket) => this.#serve(socket));
    tcp.maxConnections = CONNECTION_LIMIT;
    try {
      udp.bind(this.#port, text);
      await once(udp, 'listening');
      tcp.listen({ host: text, port: this.#port, ipv6Only: isV6 });
      await once(tcp, 'listening');
    } catch (error) {
      udp.close();
      tcp.close();
      throw listenError(error, text, this.#port);
    }
    udp.on('error', () => undefined); // of one datagram; there is nobody to tell
    tcp.on('error', () => undefined);
    udp.on('message', (message, from) => void this.#answerDatagram(udp, message, from));
    return { udp, tcp };
  }

  async #close(text: string): Promise<void> {
    const listener = this.#listeners.get(text);
    if (listener === undefined) return;
    this.#listeners.delete(text);
    for (const [socket] of this.#connections) if (addressOf(socket.localAddress) === text) socket.destroy();
    const closed = [once(listener.udp, 'close'), once(listener.tcp, 'close')];
    listener.udp.close();
    listener.tcp.close();
    await Promise.all(closed);
  }

  async #answerDatagram(socket: UdpSocket, message: Buffer, { address, port }: RemoteInfo): Promise<void> {
    const asker = this.#askerAt(address);
    if (asker === null || port === 0) return;
    const reply = await this.#answer(asker, message, 'udp');
    if (reply === null || socket.getSendQueueSize() > SEND_QUEUE_LIMIT) return;
    try {
      socket.send(reply, port, address, () => undefined);
    } catch {
      // closed while it was asked
    }
  }

  async #serve(socket: TcpSocket): Promise<void> {
    socket.on('error', () => undefined);
    const asker = this.#askerAt(socket.remoteAddress ?? '');
    const name = asker === null || asker.kind === 'self' ? '' : asker.peer.name;
    const open = [...this.#connections.values()].filter((one) => one === name).length;
    if (asker === null || open >= CONNECTION_LIMIT_PER_ASKER) {
      socket.destroy();
      return;
    }
    this.#connections.set(socket, name);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    try {
      // One after the other: who does not read its answers is asked for no more questions.
      for await (const message of messagesOf(socket, QUESTION_LENGTH_LIMIT)) {
        const reply = await this.#answer(asker, message, 'tcp');
        if (reply === null) break;
        const isTaken = socket.write(Buffer.concat([lengthPrefix(reply), reply]));
        if (!isTaken) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
      }
    } catch {
      // reset, or idle for too long
    } finally {
      this.#connections.delete(socket);
      socket.destroySoon();
    }
  }

  #askerAt(text: string): Asker | null {
    const address = parseIp(text);
    const asker = address.ok ? this.#resolver.askerAt(address.value) : null;
    if (asker === null) this.#count('stranger');
    return asker;
  }

  async #answer(asker: Asker, message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | null> {
    const reply = await this.#resolver.answer(asker, message, transport);
    this.#count(reply.outcome);
    return reply.message;
  }

  #count(outcome: Outcome): void {
    this.#counts.set(outcome, (this.#counts.get(outcome) ?? 0) + 1);
  }
}

function addressOf(text: string | undefined): string {
  const address = parseIp(text ?? '');
  return address.ok ? renderIp(address.value) : '';
}

function listenError(error: unknown, address: string, port: number): NodeError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  const hint =
    code === 'EADDRINUSE'
      ? 'another DNS server listens there: have it listen on its own addresses only, or leave firewall.dns to it'
      : undefined;
  return new NodeError('ERR_NODE_LISTEN', `names cannot be answered at ${address} port ${port}: ${code}`, {
    hint,
    cause: error,
  });
}
