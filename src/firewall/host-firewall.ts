// The host's rules of one node while it runs: put in force before the tunnel comes up, changed at once, put back when
// somebody takes them away, and taken out or kept at the end. What must hold is one transaction, and without it there is no
// tunnel; what only serves may fail, and is reported.

import { renderIp } from '../address/ip.ts';
import { contains } from '../address/prefix.ts';
import { FirewallError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { HostPolicy } from '../policy/host.ts';
import { processNames } from './chains.ts';
import { Commands } from './commands.ts';
import { type HostState as Detected, detect } from './detect.ts';
import type { HostFacts } from './facts.ts';
import { RulesetGuard, type TableChange } from './guard.ts';
import { HostState, readSysctl } from './host-state.ts';
import { backends } from './nat-chains.ts';
import { type OpeningResult, Openings, remedyFor } from './openings.ts';
import { type Ruleset, renderNft, renderRemoval, resolvedSet, ruleComment, tableName } from './render-nft.ts';
import { type Opening, openingsOf } from './render-openings.ts';
import { NftTable, type Replacement } from './table.ts';

export interface HostFirewallOptions {
  readonly policy: HostPolicy;
  readonly facts: HostFacts;
  readonly log: Log;
  /** Where the host's state from before is kept. */
  readonly runDirectory: string;
}

/** What holds on this host, for `status` and `firewall show`. */
export interface HostFirewallStatus {
  readonly backend: 'nft' | 'none';
  readonly table: string;
  /** What was asked for and does not hold, one sentence each, with what to do. */
  readonly notEnforced: readonly string[];
  /** How often somebody took the rules away and they were put back. */
  readonly restored: number;
  /** Packets by counter: what was dropped, and what was published. */
  readonly counters: Readonly<Record<string, string>>;
}

export class HostFirewall {
  readonly #log: Log;
  readonly #commands = new Commands();
  readonly #table: NftTable;
  readonly #openings: Openings;
  readonly #state: HostState;
  #policy: HostPolicy;
  #facts: HostFacts;
  #ruleset: Ruleset;
  #wanted: readonly Opening[] = [];
  #detected: Detected = { dropping: [], managers: [], blocksContainers: false };
  #results: readonly OpeningResult[] = [];
  /** Of the table, when NAT had to be left out. */
  #natFailure: string | null = null;
  #guard: RulesetGuard | null = null;
  /** The end of the change that is under way. */
  #last: Promise<void> = Promise.resolve();

  private constructor({ policy, facts, log, runDirectory }: HostFirewallOptions) {
    this.#policy = policy;
    this.#facts = facts;
    this.#log = log;
    this.#table = new NftTable(this.#commands, tableName(policy.network));
    this.#openings = new Openings(this.#commands, policy.network);
    this.#state = new HostState(this.#commands, runDirectory, policy.network);
    this.#ruleset = renderNft(policy, facts);
  }

  /**
   * Puts the rules in force and watches over them until {@link stop}. To be called before the tunnel is there.
   * @throws FirewallError when what must hold cannot be put in force; what was there before still stands
   */
  static async start(options: HostFirewallOptions): Promise<HostFirewall> {
    const firewall = await HostFirewall.apply(options);
    if (firewall.#isActive) await firewall.#watch();
    return firewall;
  }

  /** Puts the rules in force, and leaves them to themselves. */
  static async apply(options: HostFirewallOptions): Promise<HostFirewall> {
    const firewall = new HostFirewall(options);
    if (firewall.#isActive) {
      const how = await firewall.#installFirst(options);
      firewall.#log.info(`host rules: table inet ${firewall.#table.name} ${how}`);
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
    const name = tableName(policy.network);
    const listing = await new NftTable(commands, name).list();
    return async () => {
      if (listing === null) await HostFirewall.remove({ network: policy.network, runDirectory });
      else await commands.run('apply', 'nft', ['-f', '-'], `${renderRemoval(name)}${listing}`);
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
    await commands.run('detect', 'nft', ['list', 'tables']);
    await new Openings(commands, network).remove();
    await new NftTable(commands, tableName(network)).remove();
    await new HostState(commands, runDirectory, network).restore();
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
    await this.#alone(async () => await this.#install(policy, facts));
    if (this.#guard === null && wasActive === false) await this.#watch();
    this.#report();
  }

  /** Ends the watch; `on_stop` says whether the rules go, too. */
  async stop(): Promise<void> {
    if (this.#policy.onStop === 'remove') return await this.discard();
    await this.#guard?.[Symbol.asyncDispose]();
    this.#guard = null;
  }

  /** Ends the watch and takes the rules out, whatever `on_stop` says: the file has none any more. */
  async discard(): Promise<void> {
    await this.#guard?.[Symbol.asyncDispose]();
    this.#guard = null;
    if (!this.#isActive) return;
    await this.#openings.remove();
    await this.#table.remove();
    await this.#state.restore();
    this.#log.info(`host rules: table inet ${this.#table.name} removed`);
  }

  get facts(): HostFacts {
    return this.#facts;
  }

  async status(): Promise<HostFirewallStatus> {
    const totals = this.#isActive ? await this.#table.totals() : new Map();
    const counters = this.#ruleset.counters.map(
      (name) => [name, String(totals.get(name)?.packets ?? 0n)] as const,
    );
    return {
      backend: this.#isActive ? 'nft' : 'none',
      table: this.#table.name,
      notEnforced: this.#isActive
        ? this.#notEnforced()
        : [`firewall.host.backend is ${this.#policy.backend}: no rules of the host`],
      restored: this.#guard?.restored ?? 0,
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
    this.#detected = await detect(this.#commands, this.#table.name);
    // The route first: from here on a packet for the overlay goes nowhere, or through the tunnel.
    await this.#state.guardRoutes(policy, facts);
    const how = await this.#installTable(policy, facts);
    this.#policy = policy;
    this.#facts = facts;
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
      if ((await this.#table.list()) === null) await this.#state.restore();
      throw error;
    }
  }

  /** NAT serves and guards nothing: a kernel without it gets the rest. */
  async #installTable(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    const ruleset = renderNft(policy, facts);
    try {
      const how = await this.#table.apply(ruleset);
      this.#natFailure = null;
      this.#ruleset = ruleset;
      return how;
    } catch (error) {
      const restricted = renderNft({ ...policy, masquerade: [], snat: [], publish: [], oneToOne: [] }, facts);
      if (!(error instanceof FirewallError) || restricted.body === ruleset.body) throw error;
      const how = await this.#table.apply(restricted);
      this.#natFailure = `NAT is left out, for the host refused it: ${error.message}`;
      this.#ruleset = restricted;
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
      table: this.#table.name,
      mark: ruleComment(this.#policy.network),
      log: this.#log,
      ping: async () => await this.#alone(async () => await this.#table.ping()),
      restoreTable: async (change) => await this.#alone(async () => await this.#restoreTable(change)),
      restoreOpenings: async () => await this.#alone(async () => await this.#restoreOpenings()),
    });
  }

  async #restoreTable({ mayAct, ofElements }: TableChange): Promise<boolean> {
    if (await this.#table.isIntact(ofElements)) return false;
    if (mayAct) await this.#table.replace(this.#ruleset);
    return true;
  }

  /** Whether there was something to put back. */
  async #restoreOpenings(): Promise<boolean> {
    this.#detected = await detect(this.#commands, this.#table.name);
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

  #report(): void {
    for (const sentence of this.#notEnforced()) this.#log.warn(`not enforced on the host: ${sentence}`);
  }

  /**
   * The names of `process` rows resolve to something else now: their sets change in one transaction, and no other rule.
   * @throws FirewallError; the old addresses still hold
   */
  async setResolved(resolved: HostFacts['resolved']): Promise<void> {
    const facts = { ...this.#facts, resolved };
    const lines = processNames(this.#policy).flatMap((name, i) =>
      ([4, 6] as const).flatMap((version) => {
        const set = `inet ${this.#table.name} ${resolvedSet(i, version)}`;
        const elements = (resolved.get(name) ?? []).filter((one) => one.version === version).map(renderIp);
        const add = elements.length === 0 ? [] : [`add element ${set} { ${elements.join(', ')} }`];
        return [`flush set ${set}`, ...add];
      }),
    );
    if (this.#isActive && lines.length > 0) {
      await this.#alone(async () => {
        await this.#commands.run('apply', 'nft', ['-f', '-'], `${lines.join('\n')}\n`);
        this.#ruleset = renderNft(this.#policy, facts);
        await this.#table.remember();
      });
    }
    this.#facts = facts;
    this.#saveNames(facts);
  }

  #saveNames({ resolved }: HostFacts): void {
    this.#state.saveNames(
      Object.fromEntries([...resolved].map(([name, addresses]) => [name, addresses.map(renderIp)])),
    );
  }
}

function isActive({ backend }: HostPolicy): boolean {
  return backend === 'auto' || backend === 'nft';
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
