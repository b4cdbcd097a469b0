// Whether what the host's rules are to let pass does pass: each opening, published port and path is tried with packets that
// really travel through all rules of the host (probe-plan.ts, probe-packet.ts), and who drops one is named. Nobody hears
// of the packets, and nothing stays behind (render-probe.ts, probe-device.ts).

import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SystemCallError, sendPacketAs } from 'node-tuntap2';
import { type IpAddress, renderIp } from '../address/ip.ts';
import { messageOf } from '../errors.ts';
import type { HostPolicy } from '../policy/host.ts';
import type { Commands } from './commands.ts';
import type { HostFacts } from './facts.ts';
import { parseNftList } from './nft-json.ts';
import { ProbeDevice } from './probe-device.ts';
import { encodeProbe } from './probe-packet.ts';
import { ANY_PORT, type PlannedPath, type Probe, planProbes } from './probe-plan.ts';
import { type Dropper, TraceMonitor, TraceReader } from './probe-trace.ts';
import { viewHost } from './probe-view.ts';
import { tableName } from './render-nft.ts';
import { probeCounter, renderProbeTable, STEPS, type Step } from './render-probe.ts';
import { renderRemoval, renderScript } from './ruleset.ts';

/** Something that is to work, and whether it does. */
export interface TestedPath {
  readonly name: string;
  /** `unknown`: it could not be tried. */
  readonly effective: 'yes' | 'no' | 'unknown';
  /** What drops it, such as `inet admin input`; null where it passes, or nobody can say. */
  readonly by: string | null;
  /** A sentence: which packet was dropped by which rule, or why none could be tried; null where it passes. */
  readonly why: string | null;
  /** What lets it pass, to be typed by whoever owns the chain; null where that is not so simple. */
  readonly remedy: string | null;
}

/** What became of a probe. */
type Outcome =
  | { readonly kind: 'arrived' }
  | {
      readonly kind: 'lost';
      readonly by: string | null;
      readonly why: string;
      readonly remedy: string | null;
    }
  | { readonly kind: 'untried'; readonly why: string };

const ARRIVED: Outcome = { kind: 'arrived' };

/** Of more, no policy makes use at a time; beyond it, source ports would run out. */
const MOST_PROBES = 500;
/** Packets pass in the call that sends them, but on a host that spreads them over processors. */
const ARRIVAL_MS = 20;
const ARRIVAL_LOOKS = 3;
/** A monitor may not listen yet: packets are sent again, until all of them were told of. */
const TRACE_MS = 100;
const TRACE_TIMES = 12;

/** A chain that says whose table it is. */
const MARK = 'rf_self_test';

/** Tries everything; one at a time. That it cannot is an answer, not an error. */
export class SelfTest {
  readonly #commands: Commands;
  readonly #network: string;

  constructor(commands: Commands, network: string) {
    this.#commands = commands;
    this.#network = network;
  }

  /** @throws whatever `signal` is aborted with; nothing is left behind then either */
  async run(policy: HostPolicy, facts: HostFacts, signal?: AbortSignal): Promise<TestedPath[]> {
    const paths = await planProbes(policy, facts, await viewHost(this.#commands));
    const probes = paths.flatMap(({ probes: own }) => own).slice(0, MOST_PROBES);
    const outcomes = new Map<Probe, Outcome>();
    try {
      if (probes.length > 0) await this.#try(probes, outcomes, signal);
    } catch (error) {
      signal?.throwIfAborted();
      const why = messageOf(error);
      for (const probe of probes) outcomes.set(probe, { kind: 'untried', why });
    }
    return paths.map((path) => judge(path, outcomes));
  }

  /** Takes out what a process left behind that was killed; `all`: also that of one that lives. */
  async clean(all: boolean): Promise<void> {
    const prefix = probeTable(this.#network, '');
    const { stdout } = await this.#commands.try('nft', ['list', 'tables', 'inet']);
    for (const line of stdout.split('\n')) {
      const [, name = ''] = /^table inet (\S+)$/.exec(line) ?? [];
      if (!name.startsWith(prefix)) continue;
      const pid = Number(name.slice(prefix.length));
      if (all || pid === process.pid || !isAlive(pid)) await this.#remove(name);
    }
  }

  async #try(
    probes: readonly Probe[],
    outcomes: Map<Probe, Outcome>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    signal?.throwIfAborted();
    await this.clean(false);
    const ingress = [...new Set(probes.flatMap(({ from }) => ('interface' in from ? [from.interface] : [])))];
    using device = ingress.length === 0 ? null : await this.#openDevice(ingress, probes, outcomes);
    const tried = probes.filter((probe) => !outcomes.has(probe));
    if (tried.length === 0) return;
    const table = probeTable(this.#network, process.pid);
    try {
      const first = new Round(table, tried, ingress, false);
      const arrived = await this.#count(first, device, outcomes);
      for (const probe of arrived) outcomes.set(probe, ARRIVED);
      const missing = tried.filter((probe) => !outcomes.has(probe));
      signal?.throwIfAborted();
      if (missing.length > 0) await this.#trace(new Round(table, missing, ingress, true), device, outcomes);
    } finally {
      await this.#remove(table);
    }
  }

  /** Without a device, packets of this host's own users are tried still. */
  async #openDevice(
    ingress: readonly string[],
    probes: readonly Probe[],
    outcomes: Map<Probe, Outcome>,
  ): Promise<ProbeDevice | null> {
    try {
      return await ProbeDevice.open(this.#commands, ingress);
    } catch (error) {
      const why = `no packet can be put in: ${messageOf(error)}`;
      for (const probe of probes)
        if ('interface' in probe.from) outcomes.set(probe, { kind: 'untried', why });
      return null;
    }
  }

  /** Those that came to their end. */
  async #count(
    round: Round,
    device: ProbeDevice | null,
    outcomes: Map<Probe, Outcome>,
  ): Promise<readonly Probe[]> {
    await this.#load(round);
    round.send(device, outcomes);
    for (let look = 0; ; look++) {
      const counted = await this.#counters(round);
      const arrived = round.probes.filter((_, i) => round.lastStep(counted, i) === null);
      const isDone = arrived.length + outcomes.size >= round.probes.length;
      if (isDone || look === ARRIVAL_LOOKS) return arrived;
      await pause(ARRIVAL_MS);
    }
  }

  async #trace(round: Round, device: ProbeDevice | null, outcomes: Map<Probe, Outcome>): Promise<void> {
    await this.#load(round);
    const reader = new TraceReader(round.table);
    await using _ = new TraceMonitor(reader);
    const isTold = (i: number): boolean => reader.hasSeen(round.portOf(i));
    for (let times = 0; times < TRACE_TIMES; times++) {
      round.send(device, outcomes, (i) => !isTold(i));
      await pause(TRACE_MS);
      if (round.probes.every((probe, i) => outcomes.has(probe) || isTold(i))) break;
    }
    await pause(TRACE_MS); // for the last lines
    const counted = await this.#counters(round);
    for (const [i, probe] of round.probes.entries()) {
      if (outcomes.has(probe)) continue;
      outcomes.set(probe, explain(probe, round.lastStep(counted, i), reader.dropperOf(round.portOf(i))));
    }
  }

  async #load(round: Round): Promise<void> {
    await this.#commands.run('test', 'nft', ['-f', '-'], renderScript(round.ruleset(), MARK, new Map()));
  }

  async #counters({ table }: Round): Promise<ReadonlyMap<string, bigint>> {
    const listed = await this.#commands.run('test', 'nft', [
      '-j',
      'list',
      'counters',
      'table',
      'inet',
      table,
    ]);
    return new Map(parseNftList(listed).counters.map(({ name, packets }) => [name, packets]));
  }

  async #remove(table: string): Promise<void> {
    await this.#commands.try('nft', ['-f', '-'], renderRemoval(table));
  }
}

/** No network has a dot in its name, so this is no table of one. */
function probeTable(network: string, pid: number | ''): string {
  return `${tableName(network)}.probe.${pid}`;
}

/** Packets that are sent at a time. */
class Round {
  readonly table: string;
  readonly probes: readonly Probe[];
  readonly #ingress: readonly string[];
  readonly #isTraced: boolean;
  readonly #run = randomInt(1, 2 ** 32);
  readonly #firstPort: number;

  constructor(table: string, probes: readonly Probe[], ingress: readonly string[], isTraced: boolean) {
    this.table = table;
    this.probes = probes;
    this.#ingress = ingress;
    this.#isTraced = isTraced;
    this.#firstPort = randomInt(32_768, 60_000 - probes.length);
  }

  ruleset(): ReturnType<typeof renderProbeTable> {
    const { table, probes } = this;
    return renderProbeTable({ table, run: this.#run, probes, isTraced: this.#isTraced });
  }

  portOf(index: number): number {
    return this.#firstPort + index;
  }

  /** What cannot be sent is an outcome. */
  send(
    device: ProbeDevice | null,
    outcomes: Map<Probe, Outcome>,
    isWanted: (index: number) => boolean = () => true,
  ): void {
    for (const [index, probe] of this.probes.entries()) {
      if (outcomes.has(probe) || !isWanted(index)) continue;
      const { from } = probe;
      const ingress = 'interface' in from ? this.#ingress.indexOf(from.interface) + 1 : 0;
      const ports = { sourcePort: this.portOf(index), destinationPort: probe.port };
      const packet = encodeProbe({ ...probe, ...ports, ingress, run: this.#run, index });
      if ('interface' in from) device?.send(packet);
      else {
        const why = sendAs(from.user, packet);
        if (why !== null) outcomes.set(probe, { kind: 'untried', why });
      }
    }
  }

  /** The last step at which a probe was seen, of those that its way has; null: it arrived. `undefined`: at none. */
  lastStep(counted: ReadonlyMap<string, bigint>, index: number): Step | null | undefined {
    const steps = STEPS[this.probes[index]?.way ?? 'in'];
    const seen = steps.filter((step) => (counted.get(probeCounter(step, index)) ?? 0n) > 0n);
    const last = seen.at(-1);
    return last !== undefined && last === steps.at(-1) ? null : last;
  }
}

/** Why it was not sent; null: it was, though a rule may have dropped it at once. */
function sendAs(user: number, packet: Uint8Array): string | null {
  try {
    sendPacketAs(user, packet);
    return null;
  } catch (error) {
    const isDropped =
      error instanceof SystemCallError && error.syscall === 'sendto' && error.code === 'EPERM';
    return isDropped ? null : messageOf(error);
  }
}

function explain(probe: Probe, last: Step | null | undefined, dropper: Dropper | null): Outcome {
  if (last === null) return ARRIVED; // a rule that lets some pass and some not
  const what = describe(probe);
  if (dropper !== null) {
    const remedy = remedyFor(probe, dropper.chain);
    return {
      kind: 'lost',
      by: dropper.chain,
      why: `${what} is dropped by ${dropper.chain}: ${dropper.rule}`,
      remedy,
    };
  }
  if (last === undefined) return { kind: 'untried', why: `${what} does not get into this host's rules` };
  const steps = STEPS[probe.way];
  const after = steps[steps.indexOf(last) + 1]?.after ?? null;
  const nobody = { kind: 'lost', by: null, remedy: null } as const;
  if (after === 'routes') {
    const why = `${what} is dropped by no rule, but this host does not route it there (route, forwarding, rp_filter)`;
    return { ...nobody, why };
  }
  if (after === null || !isLegacy(probe, after.table)) {
    return { ...nobody, why: `${what} is lost, or translated to somewhere else, after ${last.hook}` };
  }
  const family = probe.source.version === 4 ? 'ip' : 'ip6';
  const by = `${family} ${after.table} ${after.chain} (iptables-legacy)`;
  const remedy = iptablesRemedy(probe, 'legacy', after.table, after.chain);
  return { kind: 'lost', by, why: `${what} is dropped by ${by}`, remedy };
}

/** An accept at the top of the chain that drops. Chains of programs that write them anew have their own way (openings.ts). */
function remedyFor(probe: Probe, chain: string): string | null {
  const [family = '', table = '', name = ''] = chain.split(' ');
  if (table.startsWith('rf_') || table === 'firewalld' || table.startsWith('docker-')) return null;
  const isIptables = (family === 'ip' || family === 'ip6') && /^(raw|mangle|filter|security)$/.test(table);
  if (isIptables) return iptablesRemedy(probe, 'nft', table, name);
  const { protocol, way, from } = probe;
  const { address, port } = arrivalOf(probe);
  const who = 'interface' in from ? `iifname "${from.interface}"` : `meta skuid ${from.user}`;
  const to = way === 'in' ? '' : ` ${address.version === 4 ? 'ip' : 'ip6'} daddr ${renderIp(address)}`;
  const ports = port === ANY_PORT ? '' : ` ${protocol} dport ${port}`;
  return `nft insert rule ${chain} ${who}${to}${ports} accept`;
}

function iptablesRemedy(probe: Probe, flavour: 'nft' | 'legacy', table: string, chain: string): string {
  const { protocol, way, from } = probe;
  const { address, port } = arrivalOf(probe);
  const program = `${address.version === 4 ? 'iptables' : 'ip6tables'}${flavour === 'legacy' ? '-legacy' : ''}`;
  const who = 'interface' in from ? `-i ${from.interface}` : `-m owner --uid-owner ${from.user}`;
  const to = way === 'in' ? '' : ` -d ${renderIp(address)}`;
  const ports = port === ANY_PORT ? '' : ` -p ${protocol} --dport ${port}`;
  return `${program} -t ${table} -I ${chain} 1 ${who}${to}${ports} -j ACCEPT`;
}

/** As the filters see it: DNAT is behind it. */
function arrivalOf({ arrival, destination, port }: Probe): { address: IpAddress; port: number } {
  return arrival ?? { address: destination, port };
}

/** Whether legacy iptables has a table: there is no such file where nobody uses it. */
function isLegacy({ source }: Probe, table: string): boolean {
  try {
    const file = source.version === 4 ? '/proc/net/ip_tables_names' : '/proc/net/ip6_tables_names';
    return readFileSync(file, 'utf8').split('\n').includes(table);
  } catch {
    return false;
  }
}

function describe({ protocol, source, destination, port, from }: Probe): string {
  const by = 'interface' in from ? `by ${from.interface}` : `of user ${from.user}`;
  return `${protocol.toUpperCase()} from ${renderIp(source)} ${by} to ${renderIp(destination)} port ${port}`;
}

/** One that is lost decides; then one that could not be tried. */
function judge({ name, probes, obstacle }: PlannedPath, outcomes: ReadonlyMap<Probe, Outcome>): TestedPath {
  const passed = { name, effective: 'yes', by: null, why: null, remedy: null } as const;
  if (obstacle !== null) return { ...passed, effective: 'unknown', why: obstacle };
  const all = probes.map((probe) => outcomes.get(probe));
  const lost = all.find((outcome) => outcome?.kind === 'lost');
  if (lost?.kind === 'lost') {
    const { by, why, remedy } = lost;
    return { name, effective: 'no', by, why, remedy };
  }
  if (all.every((outcome) => outcome?.kind === 'arrived')) return passed;
  const untried = all.find((outcome) => outcome?.kind === 'untried');
  const why = untried?.kind === 'untried' ? untried.why : `more than ${MOST_PROBES} packets are not tried`;
  return { ...passed, effective: 'unknown', why };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
