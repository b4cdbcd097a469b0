// Whether what the host's rules are to let pass does pass: each opening, published port and path is tried with packets that
// really travel through all rules of the host (probe-plan.ts, probe-packet.ts), and who drops one is named. Nobody hears
// of the packets, and nothing stays behind (render-probe.ts, probe-device.ts).

import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { SystemCallError, sendPacketAs } from 'node-tuntap2';
import { messageOf } from '../errors.ts';
import type { HostPolicy } from '../policy/host.ts';
import type { Commands } from './commands.ts';
import type { HostFacts } from './facts.ts';
import { parseNftList } from './nft-json.ts';
import { listChains } from './nft-list.ts';
import { ProbeDevice } from './probe-device.ts';
import { encodeProbe } from './probe-packet.ts';
import { type PlannedPath, type Probe, planProbes } from './probe-plan.ts';
import { TraceMonitor, TraceReader } from './probe-trace.ts';
import {
  ARRIVED,
  explain,
  judge,
  lostAmongMany,
  type Outcome,
  type OwnRules,
  type TestedPath,
} from './probe-verdict.ts';
import { viewHost } from './probe-view.ts';
import { tableName } from './render-nft.ts';
import { probeCounter, renderProbeTable, STEPS, type Step } from './render-probe.ts';
import { renderRemoval, renderScript } from './ruleset.ts';

/** Packets pass in the call that sends them, but on a host that spreads them over processors. */
const ARRIVAL_MS = 20;
const ARRIVAL_LOOKS = 3;
/** More of those that are lost are not followed: the monitor drops what it is told too fast. */
const MOST_FOLLOWED = 60;
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
    const probes = paths.flatMap(({ probes: own }) => own);
    const own = { network: policy.network, tunnel: facts.interface, isMirrored: facts.mirrored !== null };
    const outcomes = new Map<Probe, Outcome>();
    try {
      if (probes.length > 0) await this.#try(paths, own, outcomes, signal);
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
    const tables = (await listChains(this.#commands, 'inet')).map(({ table }) => table);
    for (const name of new Set(tables)) {
      if (!name.startsWith(prefix)) continue;
      const pid = Number(name.slice(prefix.length));
      if (all || pid === process.pid || !isAlive(pid)) await this.#remove(name);
    }
  }

  async #try(
    paths: readonly PlannedPath[],
    own: OwnRules,
    outcomes: Map<Probe, Outcome>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    signal?.throwIfAborted();
    await this.clean(false);
    const probes = paths.flatMap(({ probes: some }) => some);
    const ingress = [...new Set(probes.flatMap(({ from }) => ('interface' in from ? [from.interface] : [])))];
    using device = ingress.length === 0 ? null : await this.#openDevice(ingress, probes, outcomes);
    const tried = probes.filter((probe) => !outcomes.has(probe));
    if (tried.length === 0) return;
    const table = probeTable(this.#network, process.pid);
    try {
      const first = new Round(table, tried, ingress, false);
      const arrived = await this.#count(first, device, outcomes);
      for (const probe of arrived) outcomes.set(probe, ARRIVED);
      signal?.throwIfAborted();
      // One of each path first.
      const missing = paths.flatMap(({ probes: some }) =>
        some.filter((probe) => !outcomes.has(probe)).entries(),
      );
      const order = missing.flatMap((entries) => [...entries]).toSorted(([a], [b]) => a - b);
      const followed = order.slice(0, MOST_FOLLOWED).map(([, probe]) => probe);
      if (followed.length > 0) {
        await this.#trace(new Round(table, followed, ingress, true), device, outcomes, own, signal);
      }
      await this.#tryOthers(table, order.slice(MOST_FOLLOWED), ingress, device, outcomes);
    } finally {
      await this.#remove(table);
    }
  }

  /** Those that are not followed have a second chance, too: rules change, and some let only so many pass at a time. */
  async #tryOthers(
    table: string,
    order: readonly (readonly [number, Probe])[],
    ingress: readonly string[],
    device: ProbeDevice | null,
    outcomes: Map<Probe, Outcome>,
  ): Promise<void> {
    const others = order.map(([, probe]) => probe);
    if (others.length === 0) return;
    const arrived = await this.#count(new Round(table, others, ingress, false), device, outcomes);
    for (const probe of others) outcomes.set(probe, arrived.has(probe) ? ARRIVED : lostAmongMany(probe));
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
  ): Promise<ReadonlySet<Probe>> {
    await this.#load(round);
    round.send(device, outcomes);
    for (let look = 0; ; look++) {
      const counted = await this.#counters(round);
      const arrived = new Set(round.probes.filter((_, i) => round.lastStep(counted, i) === null));
      const isDone = round.probes.every((probe) => arrived.has(probe) || outcomes.has(probe));
      if (isDone || look === ARRIVAL_LOOKS) return arrived;
      await delay(ARRIVAL_MS);
    }
  }

  async #trace(
    round: Round,
    device: ProbeDevice | null,
    outcomes: Map<Probe, Outcome>,
    own: OwnRules,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    await this.#load(round);
    const reader = new TraceReader(round.table);
    await using _ = new TraceMonitor(reader);
    const isTold = (i: number): boolean => reader.hasSeen(round.portOf(i));
    for (let times = 0; times < TRACE_TIMES; times++) {
      round.send(device, outcomes, (i) => !isTold(i));
      await delay(TRACE_MS);
      signal?.throwIfAborted();
      if (round.probes.every((probe, i) => outcomes.has(probe) || isTold(i))) break;
    }
    await delay(TRACE_MS); // for the last lines
    const counted = await this.#counters(round);
    for (const [i, probe] of round.probes.entries()) {
      if (outcomes.has(probe)) continue;
      const dropper = reader.dropperOf(round.portOf(i));
      outcomes.set(probe, explain(probe, round.lastStep(counted, i), dropper, own));
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
