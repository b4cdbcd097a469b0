// Network namespaces: hosts, the wires between them, and the processes in them. Works only inside the private namespaces of
// the benchmark or of scripts/in-namespace, so nothing of the machine is touched and nothing outlives the run. Knows nothing of
// WireGuard. Tests stand on it too.

import { execa } from 'execa';
import { LineProcess, type SpawnOptions } from './line-process.ts';

export type ExecOptions = {
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
};

export type ExecResult = {
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
};

/** One end of a wire; addresses carry their prefix length. */
export type Leg = { readonly host: Host; readonly device: string; readonly addresses: readonly string[] };

/** A network namespace with `lo` up, IPv6 without duplicate address detection, and no router solicitations. */
export class Host {
  readonly name: string;
  /** As `ip netns` knows it: unique, because tests may overlap. */
  readonly namespace: string;
  /** Its addresses on the wires, without prefix lengths, in the order in which they were given. */
  readonly addresses: string[] = [];
  /** The CPUs that processes started here from now on are kept to, as `taskset` reads them. */
  cpus: string | undefined;
  readonly #processes: LineProcess[] = [];

  constructor(name: string, namespace: string) {
    this.name = name;
    this.namespace = namespace;
  }

  /** The first IPv4 address. */
  get v4(): string {
    return this.#address((address) => !address.includes(':'), 'IPv4');
  }

  /** The first IPv6 address. */
  get v6(): string {
    return this.#address((address) => address.includes(':'), 'IPv6');
  }

  /** Runs a command here and returns its standard output; rejects with its output when it fails. */
  async exec(file: string, args: readonly string[] = [], options: ExecOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.try(file, args, options);
    if (code === 0) return stdout;
    throw new Error(`${this.name}: ${file} ${args.join(' ')}: exit ${code}\n${stdout}\n${stderr}`);
  }

  /** Like `exec`, but a failing command is a result and no error. Only one that outlives `timeoutMs` is an error. */
  async try(file: string, args: readonly string[] = [], options: ExecOptions = {}): Promise<ExecResult> {
    const result = await execa('nsenter', this.#enter(file, args), {
      reject: false,
      timeout: options.timeoutMs ?? 30_000,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    });
    if (result.timedOut) throw new Error(`${this.name}: ${result.message}`);
    return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }

  /** Starts a process that lives until it is stopped, or until the topology ends. Its pid is the command's own. */
  spawn(file: string, args: readonly string[] = [], options: SpawnOptions = {}): LineProcess {
    const started = new LineProcess('nsenter', this.#enter(file, args), options);
    this.#processes.push(started);
    return started;
  }

  /** `ip` in this namespace. */
  async ip(...args: readonly string[]): Promise<string> {
    const { stdout } = await execa('ip', ['-n', this.namespace, ...args], { stdin: 'ignore' });
    return stdout;
  }

  /** Several `ip` commands, one per line, in one process; the first that fails ends it. */
  async ipBatch(...lines: readonly string[]): Promise<void> {
    await execa('ip', ['-n', this.namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }

  /** Sets kernel parameters of this namespace, e.g. `{ 'net.ipv4.ip_forward': 1 }`. */
  async sysctl(values: Readonly<Record<string, number | string>>): Promise<void> {
    const lines = Object.entries(values).map(([key, value]) => `${key}=${value}`);
    const script = lines.map((line) => {
      const [key = '', value = ''] = line.split('=');
      return `echo ${value} > /proc/sys/${key.replaceAll('.', '/')}`;
    });
    await this.exec('sh', ['-eu'], { input: `${script.join('\n')}\n` });
  }

  /** Ends every process that still runs here. Called by the topology. */
  async stopProcesses(): Promise<void> {
    throwFailures(await Promise.allSettled(this.#processes.map((one) => one[Symbol.asyncDispose]())));
  }

  #enter(file: string, args: readonly string[]): string[] {
    const kept = this.cpus === undefined ? [] : ['taskset', '--cpu-list', this.cpus];
    return [`--net=/run/netns/${this.namespace}`, '--', ...kept, file, ...args];
  }

  #address(wanted: (address: string) => boolean, family: string): string {
    const address = this.addresses.find(wanted);
    if (address === undefined) throw new Error(`${this.name} has no ${family} address`);
    return address;
  }
}

let topologyCount = 0;

/** Hosts and wires that end together: `await using topology = new Topology()`. */
export class Topology implements AsyncDisposable {
  readonly #prefix: string;
  readonly #hosts: Host[] = [];

  constructor() {
    if (process.env['RINGFENCE_TEST_NAMESPACE'] !== '1') {
      throw new Error(
        'namespaces of the machine are not ours to change: run this test by `npm test`, or ' +
          '`scripts/in-namespace scripts/node node_modules/vitest/vitest.mjs run --project pair`',
      );
    }
    topologyCount += 1;
    this.#prefix = `rf${process.pid}.${topologyCount}`;
  }

  async host(name: string): Promise<Host> {
    const host = new Host(name, `${this.#prefix}-${name}`);
    await execa('ip', ['netns', 'add', host.namespace]);
    this.#hosts.push(host); // from here on it is cleaned up
    // Wires and tunnels made later inherit `default`. Duplicate address detection would keep an address unusable for
    // a second, and router solicitations would turn up in captures.
    await host.sysctl({
      'net.ipv6.conf.all.accept_dad': 0,
      'net.ipv6.conf.default.accept_dad': 0,
      'net.ipv6.conf.default.dad_transmits': 0,
      'net.ipv6.conf.default.router_solicitations': 0,
      'net.ipv6.conf.default.accept_ra': 0,
    });
    await host.ip('link', 'set', 'lo', 'up');
    return host;
  }

  /** A wire between two hosts, up on both ends. */
  async connect(a: Leg, b: Leg, mtu = 1500): Promise<void> {
    const end = (leg: Leg) => `name ${leg.device} mtu ${mtu}`;
    await a.host.ipBatch(`link add ${end(a)} type veth peer ${end(b)} netns ${b.host.namespace}`);
    for (const leg of [a, b]) {
      await leg.host.ipBatch(
        ...leg.addresses.map(
          (address) => `address add ${address} dev ${leg.device}${address.includes(':') ? ' nodad' : ''}`,
        ),
        `link set ${leg.device} up`,
      );
      leg.host.addresses.push(...leg.addresses.map((address) => address.replace(/\/.*/, '')));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const hosts = this.#hosts.splice(0).reverse();
    const stopped = await Promise.allSettled(hosts.map((host) => host.stopProcesses()));
    const deleted = await Promise.allSettled(
      hosts.map((host) => execa('ip', ['netns', 'delete', host.namespace])),
    );
    throwFailures([...stopped, ...deleted]);
  }
}

function throwFailures(results: readonly PromiseSettledResult<unknown>[]): void {
  const reasons = results.filter((result) => result.status === 'rejected').map((result) => result.reason);
  if (reasons.length > 0) throw new AggregateError(reasons, reasons.map(String).join('\n'));
}

export type Direct = AsyncDisposable & {
  readonly topology: Topology;
  readonly left: Host;
  readonly right: Host;
};

/**
 * Two hosts on one wire:
 * ```
 *  left ─ eth0 192.0.2.10/24, 2001:db8:1::10/64 ─────── 192.0.2.20/24, 2001:db8:1::20/64 eth0 ─ right
 * ```
 */
export async function direct(mtu = 1500): Promise<Direct> {
  return await build(async (topology) => {
    const [left, right] = [await topology.host('left'), await topology.host('right')];
    await topology.connect(
      { host: left, device: 'eth0', addresses: ['192.0.2.10/24', '2001:db8:1::10/64'] },
      { host: right, device: 'eth0', addresses: ['192.0.2.20/24', '2001:db8:1::20/64'] },
      mtu,
    );
    return { left, right };
  });
}

/** The hosts that `wire` makes and connects, and the topology that ends with them; it ends at once if `wire` fails. */
export async function build<T extends object>(
  wire: (topology: Topology) => Promise<T>,
): Promise<T & AsyncDisposable & { readonly topology: Topology }> {
  const topology = new Topology();
  try {
    return {
      ...(await wire(topology)),
      topology,
      [Symbol.asyncDispose]: () => topology[Symbol.asyncDispose](),
    };
  } catch (error) {
    await topology[Symbol.asyncDispose]();
    throw error;
  }
}
