// The host's rules of one node while it runs: put in force before the tunnel comes up, changed at once, put back when
// somebody takes them away, and taken out or kept at the end. What must hold is one transaction, and without it there is no
// tunnel; what only serves may fail, and is reported.

import { renderIp } from '../address/ip.ts';
import { contains } from '../address/prefix.ts';
import { FirewallError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { HostPolicy } from '../policy/host.ts';
import {
  type BackendKind,
  chooseBackend,
  type HostRuleset,
  presentRulesets,
  rulesetOf,
  worksNft,
} from './backend.ts';
import { type Cgroups, CgroupWatch, cgroupMount, cgroupPaths, findCgroups } from './cgroups.ts';
import { processNames } from './chains.ts';
import { Commands } from './commands.ts';
import { type HostState as Detected, detect } from './detect.ts';
import type { HostFacts } from './facts.ts';
import { RulesetGuard, type TableChange } from './guard.ts';
import { HostState, readSysctl } from './host-state.ts';
import { backends } from './nat-chains.ts';
import { type OpeningResult, Openings, remedyFor } from './openings.ts';
import { PathWatch } from './path-watch.ts';
import type { TestedPath } from './probe-verdict.ts';
import { ruleComment, tableName } from './render-nft.ts';
import { type Opening, openingsOf } from './render-openings.ts';
import { SelfTest } from './self-test.ts';
import type { Replacement } from './table.ts';

/** A cgroup may go between the look at it and the load of its rule, and come back: so often in a row is no accident. */
const CGROUP_TRIES = 3;

export interface HostFirewallOptions {
  readonly policy: HostPolicy;
  readonly facts: HostFacts;
  readonly log: Log;
  /** Where the host's state from before is kept. */
  readonly runDirectory: string;
}

/** What holds on this host, for `status` and `firewall show`. */
export interface HostFirewallStatus {
  readonly backend: BackendKind | 'none';
  /** Of nft, in family `inet`; of iptables, what names of chains begin with. */
  readonly table: string;
  /** What was asked for and does not hold, one sentence each, with what to do. */
  readonly notEnforced: readonly string[];
  /** How often somebody took the rules away and they were put back. */
  readonly restored: number;
  /** What openings, published ports and paths were tried, and whether each passes; null before that. */
  readonly paths: readonly TestedPath[] | null;
  /** Packets by counter: what was dropped, and what was published. */
  readonly counters: Readonly<Record<string, string>>;
}

export class HostFirewall {
  readonly #log: Log;
  readonly #commands: Commands;
  #rules: HostRuleset;
  #openings: Openings;
  readonly #state: HostState;
  readonly #paths: PathWatch;
  readonly #runDirectory: string;
  #policy: HostPolicy;
  #facts: HostFacts;
  #wanted: readonly Opening[] = [];
  #detected: Detected = { dropping: [], managers: [], blocksContainers: false };
  #results: readonly OpeningResult[] = [];
  /** Of the table, when NAT had to be left out. */
  #natFailure: string | null = null;
  #guard: RulesetGuard | null = null;
  #cgroupWatch: CgroupWatch | null = null;
  /** The key `backend` by which `#rules` was chosen; null before that. */
  #chosen: HostPolicy['backend'] | null = null;
  #hasNft = true;
  /** Whether rules that another program made for this network may be there. */
  #hasLeftovers = true;
  /** The end of the change that is under way. */
  #last: Promise<void> = Promise.resolve();

  private constructor({ policy, facts, log, runDirectory }: HostFirewallOptions) {
    this.#policy = policy;
    this.#facts = facts;
    this.#log = log;
    this.#runDirectory = runDirectory;
    this.#commands = new Commands(log);
    this.#rules = rulesetOf('nft', this.#commands, policy.network, runDirectory);
    this.#openings = new Openings(this.#commands, policy.network, true);
    this.#state = new HostState(this.#commands, runDirectory, policy.network);
    this.#paths = new PathWatch(this.#commands, policy.network, log);
  }

  /**
   * Puts the rules in force and watches over them until {@link stop}. To be called before the tunnel is there.
   * @throws FirewallError when what must hold cannot be put in force; what was there before still stands
   */
  static async start(options: HostFirewallOptions): Promise<HostFirewall> {
    if (isActive(options.policy)) {
      const { policy, facts, runDirectory } = options;
      new HostState(new Commands(), runDirectory, policy.network).claim(facts.interface);
    }
    const firewall = await HostFirewall.apply(options);
    if (firewall.#isActive) await firewall.#watch();
    return firewall;
  }

  /** Puts the rules in force, and leaves them to themselves. */
  static async apply(options: HostFirewallOptions): Promise<HostFirewall> {
    const firewall = new HostFirewall(options);
    if (firewall.#isActive) {
      const how = await firewall.#installFirst(options);
      firewall.#log.info(`host rules: ${firewall.#rules.title} ${how}`);
      firewall.#report();
    }
    return firewall;
  }

  /** What names had resolved to when that was last known. */
  static savedNames(network: string, runDirectory: string): Readonly<Record<string, readonly string[]>> {
    return new HostState(new Commands(), runDirectory, network).savedNames();
  }

  /** Remembers what is there now of a network's rules; what it returns puts that back. */
  static async snapshot({ policy, runDirectory }: HostFirewallOptions): Promise<() => Promise<void>> {
    const commands = new Commands();
    const rulesets = await presentRulesets(commands, policy.network, runDirectory);
    const undos = await Promise.all(rulesets.map(async (rules) => await rules.snapshot()));
    return async () => {
      if (rulesets.length === 0) return await HostFirewall.remove({ network: policy.network, runDirectory });
      // What was there comes back before what came goes.
      for (const undo of undos) await undo();
      const kinds = rulesets.map(({ kind }) => kind);
      for (const rules of await presentRulesets(commands, policy.network, runDirectory)) {
        if (!kinds.includes(rules.kind)) await rules.remove();
      }
    };
  }

  /** Takes out every trace of a network's rules, also of a node that crashed. What is not there is no failure. */
  static async remove({
    network,
    runDirectory,
  }: {
    readonly network: string;
    readonly runDirectory: string;
  }): Promise<void> {
    const commands = new Commands();
    const hasNft = await worksNft(commands);
    // Without any program that works nothing can be said to be gone.
    if (!hasNft) await chooseBackend(commands, { backend: 'iptables', network });
    const present = await presentRulesets(commands, network, runDirectory);
    const byChain = present.some(({ kind }) => kind !== 'nft');
    await new Openings(commands, network, hasNft, byChain).remove();
    for (const rules of present) await rules.remove();
    if (hasNft) await new SelfTest(commands, network).clean(true);
    await new HostState(commands, runDirectory, network).restore();
  }

  /**
   * Tries whether what the rules are to let pass does pass, all rules of others included; from then on after each change, too. To
   * be called when the tunnel is there: what comes through it cannot be tried before.
   */
  async testPaths(): Promise<readonly TestedPath[]> {
    return this.#isActive ? await this.#paths.start(this.#policy, this.#facts) : [];
  }

  /**
   * Changes to another policy, or to other facts, at once.
   * @throws FirewallError when the host refuses: the rules from before still stand
   */
  async update(policy: HostPolicy, facts: HostFacts): Promise<void> {
    const wasActive = this.#isActive;
    if (!isActive(policy)) {
      if (wasActive) await this.discard();
      this.#policy = policy;
      return;
    }
    const { kind } = this.#rules;
    await this.#alone(async () => await this.#install(policy, facts));
    if (this.#guard !== null && kind !== this.#rules.kind) {
      await this.#endWatch();
      await this.#watch();
    } else if (this.#guard === null && !wasActive) await this.#watch();
    else if (this.#guard !== null) this.#watchCgroups();
    this.#paths.changed({ policy: this.#policy, facts: this.#facts });
    this.#report();
  }

  /** Ends the watch; `on_stop` says whether the rules go, too. */
  async stop(): Promise<void> {
    if (this.#policy.onStop === 'remove') return await this.discard();
    await this.#paths.stop();
    await this.#endWatch();
    this.#state.release();
  }

  /** Ends the watch and takes the rules out, whatever `on_stop` says: the file has none any more. */
  async discard(): Promise<void> {
    await this.#paths.stop();
    await this.#endWatch();
    if (!this.#isActive) return;
    await this.#openings.remove();
    await this.#rules.remove();
    await this.#state.restore();
    this.#state.release();
    this.#log.info(`host rules: ${this.#rules.title} removed`);
  }

  get facts(): HostFacts {
    return this.#facts;
  }

  async status(): Promise<HostFirewallStatus> {
    const totals = this.#isActive ? await this.#rules.totals() : new Map();
    const counters = this.#rules.counters.map(
      (name) => [name, String(totals.get(name)?.packets ?? 0n)] as const,
    );
    return {
      backend: this.#isActive ? this.#rules.kind : 'none',
      table: this.#rules.name,
      notEnforced: this.#isActive
        ? this.#notEnforced()
        : [`firewall.host.backend is ${this.#policy.backend}: no rules of the host`],
      restored: this.#guard?.restored ?? 0,
      paths: this.#paths.tested,
      counters: Object.fromEntries(counters),
    };
  }

  /** One change after the other: what the guard looks at is never half done. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    await before;
    try {
      return await work();
    } finally {
      resolve();
    }
  }

  get #isActive(): boolean {
    return isActive(this.#policy);
  }

  async #install(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    const former = await this.#choose(policy);
    try {
      return await this.#installChosen(policy, facts);
    } catch (error) {
      if (former !== null) {
        this.#rules = former;
        this.#chosen = former.kind;
      }
      throw error;
    }
  }

  async #installChosen(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    // What is asked of the host comes back while the rules are worked out, and nothing is changed before it has answered.
    const detecting = this.#detect();
    this.#rules.prepare?.(policy, facts);
    this.#detected = await detecting;
    // The route first: from here on a packet for the overlay goes nowhere, or through the tunnel.
    await this.#state.guardRoutes(policy, facts);
    const how = await this.#installRules(policy, facts);
    this.#wanted = openingsOf(policy, facts);
    if (policy.stance === 'open') {
      this.#results = await this.#openings.apply(this.#detected.dropping, this.#wanted);
    } else {
      await this.#openings.remove();
      this.#results = this.#detected.dropping.map((chain) => ({
        chain,
        isOpen: false,
        remedy: remedyFor(chain, this.#wanted),
      }));
    }
    this.#setSysctls();
    this.#saveNames(facts);
    return how;
  }

  /** Where nothing was before, a failure leaves nothing. */
  async #installFirst({ policy, facts }: HostFirewallOptions): Promise<Replacement> {
    try {
      return await this.#install(policy, facts);
    } catch (error) {
      // Where no program was found to do it, nothing was begun.
      const isNothing = this.#chosen !== null && !(await this.#rules.isThere().catch(() => false));
      if (isNothing) await this.#state.restore();
      throw error;
    }
  }

  /** Settles which program is to do it from now on; returns the one that did it before, where that is another. */
  async #choose({ backend, network }: HostPolicy): Promise<HostRuleset | null> {
    if (backend === 'print' || backend === 'off') return null;
    const isChosen = this.#chosen === backend;
    const kind = isChosen ? this.#rules.kind : await chooseBackend(this.#commands, { backend, network });
    if (isChosen) return null;
    const former = this.#chosen === null ? null : this.#rules;
    const rules = rulesetOf(kind, this.#commands, network, this.#runDirectory);
    if (kind !== 'nft') {
      // Both may hang, and a program that hangs is waited for: at the same time, and before anything else.
      const isAsked = backend !== 'auto';
      [this.#hasNft] = await Promise.all([isAsked && worksNft(this.#commands), rules.isThere()]);
    } else this.#hasNft = true;
    if (former?.kind !== kind) {
      this.#rules = rules;
      this.#openings = new Openings(this.#commands, network, this.#hasNft, kind !== 'nft');
    }
    this.#hasLeftovers = true;
    this.#chosen = backend;
    return former?.kind === kind ? null : former;
  }

  async #detect(): Promise<Detected> {
    const byChain = this.#rules.kind !== 'nft';
    return await detect(this.#commands, tableName(this.#policy.network), this.#hasNft, byChain);
  }

  /** What other programs have left of this network goes once these rules are in force: there is no moment without. */
  async #installRules(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    const how = await this.#applyCurrent(policy, facts);
    if (!this.#hasLeftovers) return how;
    const present = await presentRulesets(this.#commands, policy.network, this.#runDirectory, this.#hasNft);
    for (const rules of present.filter(({ kind }) => kind !== this.#rules.kind)) {
      await rules.remove();
      this.#log.info(`host rules: ${rules.title}, which are from before, removed`);
    }
    this.#hasLeftovers = false;
    return how;
  }

  /** With the cgroups that there are now, which is what is known of the host from then on. */
  async #applyCurrent(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    for (let tries = 1; ; tries++) {
      const cgroups = findCgroups(cgroupPaths(policy));
      const current = areSame(facts.cgroups, cgroups) ? facts : { ...facts, cgroups };
      try {
        const how = await this.#applyRules(policy, current);
        this.#policy = policy;
        this.#facts = current;
        return how;
      } catch (error) {
        if (tries === CGROUP_TRIES || areSame(cgroups, findCgroups(cgroupPaths(policy)))) throw error;
      }
    }
  }

  /** NAT serves and guards nothing: a kernel without it gets the rest. */
  async #applyRules(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    try {
      const how = await this.#rules.apply(policy, facts);
      this.#natFailure = null;
      return how;
    } catch (error) {
      const { masquerade, snat, publish, oneToOne, exitUsers } = policy;
      const rows = [masquerade, snat, publish, oneToOne, exitUsers];
      if (!(error instanceof FirewallError) || rows.every(({ length }) => length === 0)) throw error;
      const how = await this.#rules.apply(
        { ...policy, masquerade: [], snat: [], publish: [], oneToOne: [], exitUsers: [] },
        facts,
      );
      this.#natFailure = `NAT is left out, for the host refused it: ${error.message}`;
      return how;
    }
  }

  #setSysctls(): void {
    const { policy, facts } = { policy: this.#policy, facts: this.#facts };
    const changed = this.#state.setSysctls({ ...forwarding(policy, facts), ...localnet(policy, facts) });
    if (changed.length > 0) this.#log.info(`set for the rows of the host's rules: ${changed.join(', ')}`);
  }

  async #watch(): Promise<void> {
    this.#guard = await RulesetGuard.start({
      rules: this.#rules.title,
      touches: `inet ${this.#rules.name}`,
      mark: ruleComment(this.#policy.network),
      log: this.#log,
      ping: async () => await this.#alone(async () => await this.#rules.ping()),
      changes: this.#rules.changes ?? null,
      toldChains: this.#rules.kind === 'iptables-nft' && this.#hasNft ? `${this.#rules.name}-` : null,
      look: this.#rules.kind === 'nft' ? null : async () => await this.#rules.look(),
      restoreTable: async (change) => await this.#alone(async () => await this.#restoreTable(change)),
      restoreOpenings: async () => await this.#alone(async () => await this.#restoreOpenings()),
    });
    this.#watchCgroups();
  }

  async #endWatch(): Promise<void> {
    this.#cgroupWatch?.[Symbol.dispose]();
    this.#cgroupWatch = null;
    await this.#guard?.[Symbol.asyncDispose]();
    this.#guard = null;
    await this.#alone(async () => undefined); // what has begun
  }

  #watchCgroups(): void {
    this.#cgroupWatch?.[Symbol.dispose]();
    const paths = cgroupPaths(this.#policy);
    const look = (): void => {
      if (!this.#hasOtherCgroups()) return;
      void this.#alone(async () => await this.#takeCgroups()).catch((error: unknown) => {
        const what = `the host's rules know cgroups of before: ${messageOf(error)}`;
        this.#log.limited('cgroups').error(what);
      });
    };
    this.#cgroupWatch = paths.length === 0 ? null : new CgroupWatch(paths, look);
  }

  /** Whether there are other cgroups now than those that the rules know. */
  #hasOtherCgroups(): boolean {
    return !areSame(this.#facts.cgroups, findCgroups(cgroupPaths(this.#policy)));
  }

  async #takeCgroups(): Promise<void> {
    if (this.#cgroupWatch === null || !this.#hasOtherCgroups()) return;
    const before = this.#facts.cgroups;
    await this.#applyCurrent(this.#policy, this.#facts);
    for (const path of cgroupPaths(this.#policy)) {
      const [former, now] = [before.get(path)?.id, this.#facts.cgroups.get(path)?.id];
      if (former === now) continue;
      if (now === undefined) this.#log.warn(`not enforced on the host: ${missingCgroup(path)}`);
      else
        this.#log.info(`host rules: the cgroup ${path} is ${former === undefined ? 'there' : 'made anew'}`);
    }
  }

  /** Rules about cgroups that have changed cannot be loaded as they were. */
  async #restoreTable({ mayAct, isCertain, isOpen }: TableChange): Promise<boolean> {
    if (!isCertain && (await this.#rules.isIntact())) return false;
    if (mayAct && this.#hasOtherCgroups()) await this.#applyCurrent(this.#policy, this.#facts);
    else if (mayAct) await this.#rules.putBack(isOpen);
    return true;
  }

  /** Whether there was something to put back. */
  async #restoreOpenings(): Promise<boolean> {
    this.#paths.changed(null);
    this.#detected = await this.#detect();
    if (this.#policy.stance !== 'open') return false;
    if (await this.#openings.areThere(this.#detected.dropping, this.#wanted)) return false;
    this.#results = await this.#openings.apply(this.#detected.dropping, this.#wanted);
    return this.#results.some(({ isOpen }) => isOpen);
  }

  #notEnforced(): string[] {
    return [
      ...(this.#natFailure === null ? [] : [this.#natFailure]),
      ...this.#closedChains(),
      ...this.#missingNames(),
      ...this.#missingCgroups(),
    ];
  }

  #closedChains(): string[] {
    return this.#results.flatMap(({ chain, isOpen, remedy }) => {
      if (isOpen || !this.#wanted.some(({ hook }) => hook === chain.hook)) return [];
      const where = `${chain.family} ${chain.table} ${chain.chain}`;
      return [`${where} drops what is to pass at ${chain.hook}: ${remedy}`];
    });
  }

  #missingNames(): string[] {
    return processNames(this.#policy)
      .filter((name) => (this.#facts.resolved.get(name) ?? []).length === 0)
      .map((name) => `firewall.process: ${name} does not resolve yet, so nobody is kept from it`);
  }

  #missingCgroups(): string[] {
    return cgroupPaths(this.#policy)
      .filter((path) => !this.#facts.cgroups.has(path))
      .map(missingCgroup);
  }

  #report(): void {
    for (const sentence of this.#notEnforced()) this.#log.warn(`not enforced on the host: ${sentence}`);
  }

  /**
   * The names of `process` rows resolve to something else now: their sets change, and no other rule.
   * @throws FirewallError; the old addresses still hold
   */
  async setResolved(resolved: HostFacts['resolved']): Promise<void> {
    await this.#alone(async () => {
      const facts = { ...this.#facts, resolved };
      if (this.#isActive) await this.#applyCurrent(this.#policy, facts);
      else this.#facts = facts;
      this.#saveNames(facts);
    });
    this.#paths.changed({ policy: this.#policy, facts: this.#facts });
  }

  #saveNames({ resolved }: HostFacts): void {
    this.#state.saveNames(
      Object.fromEntries([...resolved].map(([name, addresses]) => [name, addresses.map(renderIp)])),
    );
  }
}

function isActive({ backend }: HostPolicy): boolean {
  return backend !== 'print' && backend !== 'off';
}

function areSame(some: Cgroups, others: Cgroups): boolean {
  return some.size === others.size && [...some].every(([path, { id }]) => others.get(path)?.id === id);
}

function missingCgroup(path: string): string {
  const why = cgroupMount() === null ? 'this host has no cgroup v2 mounted' : `there is no cgroup ${path}`;
  return `firewall.process: ${why}, so nobody in it gets through until there is`;
}

/** Whether packets pass through this host, from one interface to another. */
function needsForwarding(
  { masquerade, snat, publish, oneToOne }: HostPolicy,
  { peers, sites }: HostFacts,
): boolean {
  const rows = masquerade.length + snat.length + publish.length + oneToOne.length;
  return rows > 0 || peers.size > 1 || sites.size > 0;
}

/**
 * IPv6 forwarding makes the kernel deaf to router advertisements where `accept_ra` is 1: an interface that has its default
 * route from one needs 2.
 */
function forwarding(policy: HostPolicy, facts: HostFacts): Record<string, string> {
  if (policy.forwarding === 'off' || !needsForwarding(policy, facts)) return {};
  const values: Record<string, string> = { 'net/ipv4/ip_forward': '1' };
  if (facts.overlay.some(({ address }) => address.version === 6)) {
    for (const { interface: name } of facts.connected) {
      const key = `net/ipv6/conf/${name}/accept_ra`;
      if (readSysctl(key) === '1') values[key] = '2';
    }
    values['net/ipv6/conf/all/forwarding'] = '1';
  }
  return values;
}

/** A packet from 127.0.0.1 leaves by an interface only where this is set; rf_leak_in shuts what else it would open. */
function localnet({ publish }: HostPolicy, facts: HostFacts): Record<string, string> {
  const targets = publish.filter(({ localhost }) => localhost).flatMap((row) => backends(row, facts));
  const names = targets.flatMap(({ address }) =>
    facts.connected.filter(({ prefix }) => contains(prefix, address)).map(({ interface: name }) => name),
  );
  return Object.fromEntries([...new Set(names)].map((name) => [`net/ipv4/conf/${name}/route_localnet`, '1']));
}
