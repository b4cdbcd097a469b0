// What peers use, between the core that counts and the book that keeps: asks the one, tells the other, and gives peers with
// a quota what is left of it.

import type { NodeConfig } from '../config/schema.ts';
import { peerKey } from '../control/uapi/model.ts';
import type { Allowances } from '../policy/compiled.ts';
import type { Policy } from '../policy/model.ts';
import type { AccountNames, Accounts } from './accounts.ts';
import type { Device } from './device.ts';

export class Metering {
  readonly #accounts: Accounts;
  readonly #device: () => Device | undefined;
  #policy: Policy | null;
  #names: { readonly peers: ReadonlyMap<string, string>; readonly services: ReadonlyMap<string, string> };
  /** What the core was told. */
  #given: Allowances = new Map();

  constructor(accounts: Accounts, config: NodeConfig, device: () => Device | undefined) {
    this.#accounts = accounts;
    this.#device = device;
    this.#policy = config.firewall?.policy ?? null;
    this.#names = namesOf(config);
  }

  /** For the core of a lane that is about to start. */
  beginLane(): Allowances {
    this.#given = this.#accounts.beginLane(this.#policy);
    return this.#given;
  }

  /** This is the configuration from now on. What was counted before it is counted by the former one's names. */
  async change(config: NodeConfig): Promise<void> {
    await this.collect();
    this.#policy = config.firewall?.policy ?? null;
    this.#names = namesOf(config);
  }

  /** For the core of the lane that runs. */
  allowances(): Allowances {
    const device = this.#device();
    this.#given =
      this.#policy === null
        ? new Map()
        : this.#accounts.allowances(this.#policy, ({ publicKey }) => device?.peer(publicKey)?.id);
    return this.#given;
  }

  /** Fetches what the core has counted. */
  async collect(): Promise<void> {
    const device = this.#device();
    const meters = await device?.meters();
    if (device === undefined || meters === undefined) return;
    const names: AccountNames = {
      peer: (id) => {
        const peer = device.peerOfId(id);
        return peer === undefined ? null : (this.#names.peers.get(peerKey(peer.publicKey)) ?? null);
      },
      service: (rule) => this.#names.services.get(device.ruleName(rule) ?? '') ?? null,
    };
    this.#accounts.take(meters, names);
  }

  /** The same, now and then: begins periods whose time has come, and writes the file. */
  async keep(): Promise<void> {
    await this.collect();
    const former = this.#given;
    const changed = [...this.allowances()].filter(([name, bytes]) => former.get(name) !== bytes);
    if (changed.length > 0) await this.#device()?.setAllowances(new Map(changed));
    await this.#accounts.write(this.#policy);
  }

  /** Writes down what is counted, before the device stops. */
  async finish(): Promise<void> {
    await this.collect();
    await this.#accounts.write(this.#policy, true);
  }
}

function namesOf({ peers, firewall }: NodeConfig): {
  readonly peers: ReadonlyMap<string, string>;
  readonly services: ReadonlyMap<string, string>;
} {
  return {
    peers: new Map(peers.map(({ publicKey, name }) => [peerKey(publicKey), name])),
    services: new Map((firewall?.policy.services ?? []).map(({ name, id }) => [name, id])),
  };
}
