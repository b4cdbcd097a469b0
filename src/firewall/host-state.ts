// What else of the host is changed beside rules: kernel parameters and the routes of the leak guard. What was there before is
// kept in a file below the run directory, which is gone after a reboot just as the changes are; so `remove` puts it back
// also after a crash. Two nodes of one host share the parameters: the last one out restores them.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { renderPrefix } from '../address/prefix.ts';
import { FirewallError } from '../errors.ts';
import type { HostPolicy } from '../policy/host.ts';
import type { Commands } from './commands.ts';
import { type HostFacts, reducePrefixes, VERSIONS } from './facts.ts';

/** Worse than any route that means something, so it counts only when the tunnel and its routes are gone. */
const GUARD_METRIC = 4_278_198_272;

interface Saved {
  /** Parameters and what they were before. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** The guarded networks. */
  readonly routes: readonly string[];
  /** What names of `process` rows last resolved to: a resolver that fails opens nothing, also at the next start. */
  readonly names: Readonly<Record<string, readonly string[]>>;
}

const NOTHING: Saved = { sysctls: {}, routes: [], names: {} };

/** The process of a node that runs. */
interface Owner {
  readonly interface: string;
  readonly pid: number;
  /** A number of a process that ended is given to another, which began at another time. */
  readonly startedAt: string;
  /** Rules belong to a network namespace: in another one the name is free. */
  readonly namespace: string;
}

export class HostState {
  readonly #commands: Commands;
  readonly #directory: string;
  readonly #network: string;

  constructor(commands: Commands, directory: string, network: string) {
    this.#commands = commands;
    this.#directory = join(directory, 'firewall');
    this.#network = network;
  }

  /**
   * Says that a running node has the network. Two with one name would each put back what the other changes, for ever.
   * @throws FirewallError `ERR_FIREWALL_NETWORK` while the process of another node lives that said so
   */
  claim(interfaceName: string, pid = process.pid): void {
    const owner = this.#owner();
    if (owner !== null && owner.pid !== pid && isAlive(owner)) {
      const message = `the network ${this.#network} is that of the node of ${owner.interface} (process ${owner.pid})`;
      throw new FirewallError(
        'ERR_FIREWALL_NETWORK',
        message,
        { phase: 'detect', command: 'ringfence', line: null, stderr: '', restored: true },
        { hint: 'give one of them another name: firewall.network' },
      );
    }
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const claimed: Owner = { interface: interfaceName, pid, ...lifeOf(pid) };
    writeFileSync(this.#ownerFile, JSON.stringify(claimed), { mode: 0o600 });
  }

  /** Takes back what {@link claim} said. */
  release(): void {
    if (this.#owner()?.pid === process.pid) rmSync(this.#ownerFile, { force: true });
  }

  get #ownerFile(): string {
    return join(this.#directory, `${this.#network}.owner`);
  }

  #owner(): Owner | null {
    try {
      return JSON.parse(readFileSync(this.#ownerFile, 'utf8')) as Owner;
    } catch {
      return null;
    }
  }

  /**
   * An `unreachable` route for each network of the overlay: without the tunnel, and so without its routes, packets for it
   * would follow the default route.
   */
  async guardRoutes(policy: HostPolicy, facts: HostFacts): Promise<void> {
    const wanted = policy.leakGuard.route
      ? VERSIONS.filter(hasVersion)
          .flatMap((version) => reducePrefixes(facts.overlay, version))
          .map(renderPrefix)
      : [];
    const saved = this.#read(this.#network);
    this.#write({ ...saved, routes: [...new Set([...saved.routes, ...wanted])] });
    await this.#addRoutes(wanted);
    const gone = saved.routes.filter((route) => !wanted.includes(route));
    await this.#removeRoutes(gone);
    this.#write({ ...saved, routes: wanted });
  }

  /** Sets parameters, such as `net/ipv4/ip_forward`, of which those that do not exist, such as IPv6 where it is off, are left out. Returns what it changed. */
  setSysctls(values: Readonly<Record<string, string>>): string[] {
    const changed: string[] = [];
    for (const [key, value] of Object.entries(values)) {
      const before = readSysctl(key);
      if (before === null || before === value) continue;
      const saved = this.#read(this.#network);
      // Kept before it is changed: a crash in between restores what is there.
      this.#write({ ...saved, sysctls: { [key]: this.#original(key) ?? before, ...saved.sysctls } });
      writeFileSync(sysctlFile(key), value);
      changed.push(key);
    }
    return changed;
  }

  saveNames(names: Saved['names']): void {
    this.#write({ ...this.#read(this.#network), names });
  }

  savedNames(): Saved['names'] {
    return this.#read(this.#network).names;
  }

  /** Takes routes and parameters back. */
  async restore(): Promise<void> {
    const { sysctls, routes } = this.#read(this.#network);
    await this.#removeRoutes(routes);
    for (const [key, value] of Object.entries(sysctls)) {
      if (this.#others().some((other) => key in other.sysctls)) continue;
      if (existsSync(sysctlFile(key))) writeFileSync(sysctlFile(key), value);
    }
    rmSync(this.#file(this.#network), { force: true });
  }

  /** What another node found before it changed the same parameter. */
  #original(key: string): string | undefined {
    return this.#others().find((other) => key in other.sysctls)?.sysctls[key];
  }

  #others(): Saved[] {
    if (!existsSync(this.#directory)) return [];
    return readdirSync(this.#directory)
      .filter((name) => name.endsWith('.json') && name !== `${this.#network}.json`)
      .map((name) => this.#read(name.replace(/\.json$/, '')));
  }

  async #addRoutes(networks: readonly string[]): Promise<void> {
    if (networks.length === 0) return;
    const lines = networks.map((network) => `route replace unreachable ${network} metric ${GUARD_METRIC}\n`);
    await this.#commands.run('apply', 'ip', ['-batch', '-'], lines.join(''));
  }

  /** One by one: what is gone already is no failure. */
  async #removeRoutes(networks: readonly string[]): Promise<void> {
    if (networks.length === 0) return;
    const lines = networks.map((network) => `route del unreachable ${network} metric ${GUARD_METRIC}\n`);
    await this.#commands.try('ip', ['-force', '-batch', '-'], lines.join(''));
  }

  #file(network: string): string {
    return join(this.#directory, `${network}.json`);
  }

  #read(network: string): Saved {
    try {
      return { ...NOTHING, ...(JSON.parse(readFileSync(this.#file(network), 'utf8')) as Partial<Saved>) };
    } catch {
      return NOTHING;
    }
  }

  #write(saved: Saved): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const file = this.#file(this.#network);
    writeFileSync(`${file}.new`, JSON.stringify(saved), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}

/** When a process began, in ticks since the system did (proc_pid_stat(5), field 22), and where; empty if there is none. */
function lifeOf(pid: number): Pick<Owner, 'startedAt' | 'namespace'> {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const startedAt = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    return { startedAt, namespace: readlinkSync(`/proc/${pid}/ns/net`) };
  } catch {
    return { startedAt: '', namespace: '' };
  }
}

/** Whether it still runs, and in the network namespace of this process. */
function isAlive({ pid, startedAt, namespace }: Owner): boolean {
  const life = lifeOf(pid);
  const isSame = life.startedAt === startedAt && life.namespace === namespace;
  return startedAt !== '' && isSame && namespace === lifeOf(process.pid).namespace;
}

function sysctlFile(key: string): string {
  return join('/proc/sys', key);
}

/** A host may be without IPv6, or have it switched off: then there is nothing to guard. */
function hasVersion(version: 4 | 6): boolean {
  return version === 4 || readSysctl('net/ipv6/conf/lo/disable_ipv6') === '0';
}

/** null where there is no such parameter. */
export function readSysctl(key: string): string | null {
  try {
    return readFileSync(sysctlFile(key), 'utf8').trim();
  } catch {
    return null;
  }
}
