// `ringfence -f IFACE` in a namespace, and its socket as a program speaks to it that is not `wg`.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Exit, LineProcess } from './line-process.ts';
import { RINGFENCE } from './node-process.ts';
import type { Host } from './topology.ts';

/** Where `wg` looks for the socket of an interface; all hosts of a run share the folder. */
export function uapiSocket(name: string): string {
  return `/var/run/wireguard/${name}.sock`;
}

export class BareInterface implements AsyncDisposable {
  readonly host: Host;
  readonly name: string;
  readonly process: LineProcess;

  private constructor(host: Host, name: string, started: LineProcess) {
    this.host = host;
    this.name = name;
    this.process = started;
  }

  /** Resolves when interface and socket are there. */
  static async start(
    host: Host,
    name: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<BareInterface> {
    const started = host.spawn(RINGFENCE, ['-f', name], { env: { LOG_LEVEL: 'debug', ...env } });
    await started.line(/UAPI listener started/, 20_000);
    return new BareInterface(host, name, started);
  }

  /** `wg ARGS…` beside it. */
  async wg(...args: readonly string[]): Promise<string> {
    return await this.host.exec('wg', args);
  }

  /** Sends a whole request and returns the whole answer. */
  async ask(request: string): Promise<string> {
    return await ask(this.name, request);
  }

  async stop(): Promise<Exit> {
    return await this.process.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
  }
}

/** Sends `request` to the socket of `name` and returns what comes up to the end of the first answer. */
export async function ask(name: string, request: string | Uint8Array): Promise<string> {
  const socket = await dial(name);
  try {
    socket.write(request);
    return await answer(socket);
  } finally {
    socket.destroy();
  }
}

export async function dial(name: string): Promise<Socket> {
  const socket = connect(uapiSocket(name));
  socket.on('error', () => {}); // shows as a connection that ends
  await once(socket, 'connect');
  return socket;
}

/** All that comes until an answer ends, or the connection does. */
export async function answer(socket: Socket): Promise<string> {
  let text = '';
  return await new Promise((resolve) => {
    const take = (part: Buffer): void => {
      text += part.toString('latin1');
      if (!/errno=-?[0-9]+\n\n$/.test(text)) return;
      socket.off('data', take);
      resolve(text);
    };
    socket.on('data', take);
    socket.once('close', () => resolve(text));
    if (socket.destroyed) resolve(text);
  });
}
