// The host's rules of a node: in force before its tunnel is there, changed by a reload, out or kept after its end. Keeps up with
// what they depend on beside the file: the names of `firewall.process` and the networks of the host's other interfaces.

import { isDeepStrictEqual } from 'node:util';
import { renderIp } from '../address/ip.ts';
import type { NodeConfig } from '../config/schema.ts';
import { messageOf } from '../errors.ts';
import { processNames } from '../firewall/chains.ts';
import { HostFirewall, type HostFirewallStatus } from '../firewall/host-firewall.ts';
import type { Log } from '../log.ts';
import { hostFacts } from './host-facts.ts';
import type { HostNetwork } from './host-network.ts';
import type { ResolvedName } from './names.ts';
import type { PreparedPart, ReloadPart } from './reload.ts';
import { type Resolved, RuleNames } from './rule-names.ts';

export class HostRules implements ReloadPart {
  readonly #log: Log;
  readonly #runDirectory: string;
  #config: NodeConfig;
  /** null: the file says nothing of the host. */
  #firewall: HostFirewall | null = null;
  #names = new RuleNames([], new Map(), {});
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
    network.add(() => rules.#follow());
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
    const saved = HostFirewall.savedNames(policy.network, this.#runDirectory);
    const names = new RuleNames(processNames(policy), this.#names.resolved, saved);
    await names.ask();
    const facts = hostFacts(to, names.resolved, this.#firewall?.facts);
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
    this.#names = names;
    this.#schedule();
  }

  /** A name was resolved elsewhere in this node: the rules know its addresses before anything is sent there. */
  async learn(name: string, answer: ResolvedName): Promise<void> {
    if (this.#names.take(name, answer)) await this.#follow();
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    const { restMs } = this.#names;
    this.#timer = restMs === null ? null : setTimeout(() => void this.#refresh(), restMs).unref();
  }

  async #refresh(): Promise<void> {
    await this.#names.ask();
    await this.#follow();
    if (!this.#isStopped) this.#schedule();
  }

  /** Has the rules say what the names, and the networks of the host's interfaces, are now. Does not fail. */
  async #follow(): Promise<void> {
    const policy = this.#config.firewall?.host ?? null;
    if (policy === null || this.#isStopped || this.#firewall === null) return;
    const { facts: before } = this.#firewall;
    try {
      const facts = hostFacts(this.#config, this.#names.resolved, before);
      const isMoved = policy.mirrorsPolicy && !isDeepStrictEqual(facts.local, before.local);
      if (isMoved || !isDeepStrictEqual(facts.connected, before.connected)) {
        await this.#firewall.update(policy, facts);
        this.#log.debug('the host rules follow the networks of its interfaces');
      } else if (!isDeepStrictEqual(texts(facts.resolved), texts(before.resolved))) {
        await this.#firewall.setResolved(facts.resolved);
      }
    } catch (error) {
      this.#log.limited('host rules').warn(`the host's rules stay as they are: ${messageOf(error)}`);
    }
  }
}

function texts(resolved: Resolved): (readonly [string, readonly string[]])[] {
  return [...resolved].map(([name, addresses]) => [name, addresses.map(renderIp)] as const);
}
