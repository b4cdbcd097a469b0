// The default routes of a node: those that its peers have, as long as the node has them. What must not stay behind is written
// down before it is made, so that the next start clears away what a node that was killed has left.

import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { IpAddress } from '../address/ip.ts';
import type { NodeConfig } from '../config/schema.ts';
import { codeOf } from '../errors.ts';
import type { Log } from '../log.ts';
import {
  addDefaultRoute,
  freeTable,
  removeDefaultRoute,
  removeGuard,
  renderGuarded,
  setGuard,
  type Version,
} from './default-route.ts';
import type { Device } from './device.ts';
import type { PreparedPart, ReloadPart } from './reload.ts';
import { replaceFile } from './replace-file.ts';
import { Host } from './wg-quick/host.ts';

const VERSIONS: readonly Version[] = [4, 6];

/** Our own addresses of each version that has a default route. */
type Wanted = ReadonlyMap<Version, readonly IpAddress[]>;

export class DefaultRoutes implements ReloadPart {
  readonly #name: string;
  readonly #device: Device;
  readonly #host: Host;
  readonly #file: string;
  #present: Wanted = new Map();
  #mark = 0;

  constructor(options: { name: string; device: Device; runDirectory: string; log: Log }) {
    this.#name = options.name;
    this.#device = options.device;
    this.#host = new Host((line) => options.log.debug(line));
    this.#file = join(options.runDirectory, `${options.name}.default-route`);
  }

  /** What the tunnel's datagrams are marked with; 0 = they are not, for nothing would send them into the tunnel. */
  get mark(): number {
    return this.#mark;
  }

  async prepare(_: NodeConfig, to: NodeConfig): Promise<PreparedPart> {
    const former = this.#present;
    const wanted = wantedBy(to);
    return {
      commit: async () => {
        try {
          await this.#set(wanted);
        } catch (error) {
          await this.#set(former);
          throw error;
        }
      },
      rollBack: () => this.#set(former),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  /** Clears away what a node of this interface has left that was killed. */
  async clear(): Promise<void> {
    let text: string;
    try {
      text = await readFile(this.#file, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return;
      throw error;
    }
    const mark = Number(text);
    for (const version of VERSIONS) {
      if (Number.isSafeInteger(mark) && mark > 0)
        await removeDefaultRoute(this.#host, { name: this.#name, version, mark });
      await removeGuard(this.#host, this.#name, version);
    }
    await rm(this.#file, { force: true });
  }

  /** Takes all of it back. */
  close(): Promise<void> {
    return this.#set(new Map());
  }

  /** What both have stays as it is: there is no moment in which packets go elsewhere. */
  async #set(wanted: Wanted): Promise<void> {
    if (wanted.size > 0 && this.#mark === 0) await this.#markDatagrams();
    for (const version of VERSIONS) {
      const addresses = wanted.get(version);
      const before = this.#present.get(version);
      const route = { name: this.#name, version, addresses: addresses ?? [], mark: this.#mark };
      if (addresses === undefined && before !== undefined) {
        await removeDefaultRoute(this.#host, route);
        await removeGuard(this.#host, this.#name, version);
      } else if (addresses !== undefined && before === undefined) {
        this.#present = new Map(this.#present).set(version, addresses); // as much of it as there is, is to go again
        await addDefaultRoute(this.#host, route);
      } else if (
        before !== undefined &&
        renderGuarded({ version, addresses: before }) !== renderGuarded(route)
      )
        await setGuard(this.#host, route);
    }
    this.#present = wanted;
    if (wanted.size === 0 && this.#mark !== 0) await this.#unmark();
  }

  async #markDatagrams(): Promise<void> {
    const mark = await freeTable(this.#host);
    await replaceFile(this.#file, `${mark}\n`);
    await this.#device.change({ fwmark: mark, peers: [] });
    this.#mark = mark;
  }

  async #unmark(): Promise<void> {
    this.#mark = 0;
    await this.#device.change({ fwmark: 0, peers: [] });
    await rm(this.#file, { force: true });
  }
}

/** A table that the file names has no rules of ours: who asks for it makes them. */
function wantedBy({ interface: own, peers }: NodeConfig): Wanted {
  if (own.table !== 'auto') return new Map();
  const defaults = peers.flatMap(({ routes }) => routes).filter(({ length }) => length === 0);
  const versions = new Set(defaults.map(({ address }) => address.version));
  const addresses = own.addresses.map(({ address }) => address);
  return new Map(
    [...versions].map((version) => [version, addresses.filter((address) => address.version === version)]),
  );
}
