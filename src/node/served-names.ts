// The resolver of a node, where its file has a section `firewall.dns` and no CoreDNS that answers instead; a reload moves it
// and changes what it answers.

import { type IpAddress, renderIp } from '../address/ip.ts';
import type { NodeConfig } from '../config/schema.ts';
import type { NamesStatus } from '../control/target.ts';
import type { Forwarder } from '../dns/forwarder.ts';
import type { Resolver } from '../dns/resolver.ts';
import type { DnsServer } from '../dns/server.ts';
import { ConfigError, NodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { hostAddresses } from './host-addresses.ts';
import type { PreparedPart, ReloadPart } from './reload.ts';

/** What is answered, and where. */
interface Serving {
  readonly resolver: Resolver;
  readonly domain: string;
  readonly addresses: readonly IpAddress[];
}

export class ServedNames implements ReloadPart {
  readonly #log: Log;
  /** Made when first needed: most nodes answer no names. */
  #server: DnsServer | null = null;
  /** One for all policies: what it keeps is nobody's secret, and who asks is judged before. */
  #forwarder: Forwarder | null = null;
  #serving: Serving | null = null;

  constructor(log: Log) {
    this.#log = log;
  }

  /** INVARIANT: this part commits after the interface has the addresses of `to`, for it listens on them. */
  async prepare(_: NodeConfig, to: NodeConfig): Promise<PreparedPart> {
    const former = this.#serving;
    const next = await this.#servingOf(to);
    return {
      commit: async () => {
        if (next !== null) await this.#listen(next, to);
        this.#use(next);
        if (next !== null && former?.domain !== next.domain) {
          this.#log.info(
            `names below ${next.domain} are answered at ${next.addresses.map(renderIp).join(', ')}`,
          );
        }
      },
      rollBack: async () => this.#use(former),
      [Symbol.asyncDispose]: async () => await this.#server?.keepOnly(this.#serving?.addresses ?? []),
    };
  }

  status(): NamesStatus | null {
    if (this.#serving === null || this.#server === null) return null;
    const { domain, addresses } = this.#serving;
    const questions = Object.fromEntries(
      Array.from(this.#server.counts, ([outcome, count]) => [outcome, String(count)]),
    );
    return { domain, addresses: addresses.map(renderIp), questions };
  }

  async close(): Promise<void> {
    this.#serving = null;
    this.#forwarder?.[Symbol.dispose]();
    await this.#server?.keepOnly([]);
  }

  #use(serving: Serving | null): void {
    this.#serving = serving;
    if (serving !== null) this.#server?.use(serving.resolver);
  }

  async #servingOf({ firewall, interface: own }: NodeConfig): Promise<Serving | null> {
    if (firewall === null || firewall.names === null || firewall.names.corefile !== null) return null;
    const { Resolver } = await import('../dns/resolver.ts');
    const { Forwarder } = await import('../dns/forwarder.ts');
    this.#forwarder ??= new Forwarder();
    const { names, policy } = firewall;
    return {
      resolver: new Resolver(policy, names, hostAddresses(), this.#forwarder),
      domain: names.domain,
      addresses: own.addresses.map(({ address }) => address),
    };
  }

  /** @throws ConfigError `ERR_NODE_LISTEN` at the place of the section, when port 53 of an address cannot be had */
  async #listen({ resolver, addresses }: Serving, { firewall }: NodeConfig): Promise<void> {
    const { DnsServer } = await import('../dns/server.ts');
    this.#server ??= new DnsServer(resolver);
    try {
      await this.#server.listen(addresses);
    } catch (error) {
      const rule = firewall?.names;
      if (!(error instanceof NodeError) || rule === undefined || rule === null) throw error;
      const place = { ...rule.place, path: rule.name };
      throw new ConfigError([{ code: error.code, message: error.message, place, hint: error.hint }], error);
    }
  }
}
