// The host's rules of a node: in force before its tunnel is there, changed by a reload, out or kept after its end. Keeps up with
// what they depend on beside the file: the names of `firewall.process` and the networks of the host's other interfaces.

import { lookup } from 'node:dns/promises';
import { isDeepStrictEqual } from 'node:util';
import { type IpAddress, parseIp, renderIp } from '../address/ip.ts';
import type { NodeConfig } from '../config/schema.ts';
import { messageOf } from '../errors.ts';
import { processNames } from '../firewall/chains.ts';
import { HostFirewall, type HostFirewallStatus } from '../firewall/host-firewall.ts';
import type { Log } from '../log.ts';
import type { HostPolicy } from '../policy/host.ts';
import { hostFacts } from './host-facts.ts';
import type { HostNetwork } from './host-network.ts';
import type { PreparedPart, ReloadPart } from './reload.ts';

/** How long a start waits for names, and how often they are asked for again. */
const FIRST_ANSWER_MS = 3_000;
const REFRESH_MS = 30_000;

type Resolved = ReadonlyMap<string, readonly IpAddress[]>;

export class HostRules implements ReloadPart {
  readonly #log: Log;
  readonly #runDirectory: string;
  #config: NodeConfig;
  /** null: the file says nothing of the host. */
  #firewall: HostFirewall | null = null;
  /** The last that each name resolved to: a resolver that fails takes nothing back. */
  #resolved: Resolved = new Map();
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;
  /** Whether the tunnel is there. */
  #isReady = false;

  private constructor(config: NodeConfig, log: Log, runDirectory: string) {
    this.#config = config;
    this.#log = log;
    this.#runDirectory = runDirectory;
  }

  /** @throws FirewallError when what must hold cannot be put in force: there is to be no tunnel then */
  static async start(
    config: NodeConfig,
    { network, log, runDirectory }: { network: HostNetwork; log: Log; runDirectory: string },
  ): Promise<HostRules> {
    const rules = new HostRules(config, log, runDirectory);
    await rules.#change(config);
    network.add(() => rules.#follow(rules.#resolved));
    return rules;
  }

  /** The tunnel is there: from now on it is tried whether what is to pass the host's rules does. Nothing waits for that. */
  ready(): void {
    this.#isReady = true;
    void this.#firewall?.testPaths();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#firewall?.stop();
    this.#firewall = null;
  }

  async status(): Promise<HostFirewallStatus | null> {
    return (await this.#firewall?.status()) ?? null;
  }

  async prepare(from: NodeConfig, to: NodeConfig): Promise<PreparedPart> {
    return {
      commit: async () => await this.#change(to),
      rollBack: async () => await this.#change(from),
      [Symbol.asyncDispose]: async () => undefined,
    };
  }

  async #change(to: NodeConfig): Promise<void> {
    const policy = to.firewall?.host ?? null;
    const former = this.#firewall === null ? null : (this.#config.firewall?.host ?? null);
    if (policy === null) {
      await this.#firewall?.discard();
      this.#firewall = null;
      this.#config = to;
      return;
    }
    this.#resolved = await this.#resolve(policy);
    const facts = hostFacts(to, this.#resolved, this.#firewall?.facts);
    if (this.#firewall !== null && former?.network === policy.network) {
      await this.#firewall.update(policy, facts);
    } else {
      const options = { policy, facts, log: this.#log, runDirectory: this.#runDirectory };
      const started = await HostFirewall.start(options);
      await this.#firewall?.discard();
      this.#firewall = started;
      if (this.#isReady) void started.testPaths();
    }
    this.#config = to;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#refresh(), REFRESH_MS);
    this.#timer.unref();
  }

  async #refresh(): Promise<void> {
    const policy = this.#config.firewall?.host ?? null;
    if (policy === null) return;
    try {
      const resolved = await this.#resolve(policy);
      if (this.#config.firewall?.host === policy) await this.#follow(resolved);
    } finally {
      if (!this.#isStopped) this.#schedule();
    }
  }

  /** Has the rules say what the names, and the networks of the host's interfaces, are now. Does not fail. */
  async #follow(resolved: Resolved): Promise<void> {
    const policy = this.#config.firewall?.host ?? null;
    if (policy === null || this.#isStopped || this.#firewall === null) return;
    const { facts: before } = this.#firewall;
    try {
      const facts = hostFacts(this.#config, resolved, before);
      this.#resolved = resolved;
      const isMoved = policy.mirrorsPolicy && !isDeepStrictEqual(facts.local, before.local);
      if (isMoved || !isDeepStrictEqual(facts.connected, before.connected)) {
        await this.#firewall.update(policy, facts);
        this.#log.debug('the host rules follow the networks of its interfaces');
      } else if (!isDeepStrictEqual(texts(facts.resolved), texts(before.resolved))) {
        await this.#firewall.setResolved(resolved);
      }
    } catch (error) {
      this.#log.limited('host rules').warn(`the host's rules stay as they are: ${messageOf(error)}`);
    }
  }

  /** All addresses of each name; those from before for one that does not resolve now. */
  async #resolve(policy: HostPolicy): Promise<Resolved> {
    const names = processNames(policy);
    const saved = HostFirewall.savedNames(policy.network, this.#runDirectory);
    const answers = await Promise.all(
      names.map(async (name) => {
        const { promise: late, resolve } = Promise.withResolvers<null>();
        const timer = setTimeout(() => resolve(null), FIRST_ANSWER_MS);
        const answer = await Promise.race([lookup(name, { all: true }).catch(() => null), late]);
        clearTimeout(timer);
        const addresses = answer?.map(({ address }) => address) ?? saved[name] ?? [];
        return [name, parsed(addresses)] as const;
      }),
    );
    return new Map(answers);
  }
}

/** In one order, for a resolver may answer in any. */
function parsed(addresses: readonly string[]): IpAddress[] {
  return [...new Set(addresses)].toSorted().flatMap((text) => {
    const address = parseIp(text);
    return address.ok ? [address.value] : [];
  });
}

function texts(resolved: Resolved): (readonly [string, readonly string[]])[] {
  return [...resolved].map(([name, addresses]) => [name, addresses.map(renderIp)] as const);
}
