// The policy of a device: what its lanes are given, at their start and as changes, and what the core reports in the words of
// the policy. Numbers are given to names here and live as long as the device, so that counters keep their meaning.

import type { IpPrefix } from '../address/prefix.ts';
import type { LaneFilter, LanePolicy } from '../lane/messages.ts';
import {
  type Allowances,
  type CompiledPolicy,
  DECIDERS,
  type Decider,
  type RuleName,
} from '../policy/compiled.ts';
import { PolicyEncoder } from '../policy/encode.ts';

/** What one rule has denied one peer. */
export interface DeniedPackets {
  /** The main thread's number of the peer; of a peer that is gone, nobody's. */
  readonly peer: number;
  readonly rule: RuleName | null;
  readonly stage: Decider;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export class DevicePolicy {
  #encoder = new PolicyEncoder();
  #current: CompiledPolicy | null = null;
  #own: readonly IpPrefix[] = [];
  /** Whether lanes know the policy by other numbers than the encoder, or not at all. */
  #isNewToLanes = true;

  get current(): CompiledPolicy | null {
    return this.#current;
  }

  /** What a lane starts with; null: everything passes. */
  laneSettings(picksUp: boolean, allowances: Allowances): LanePolicy | null {
    if (this.#current === null) return null;
    return { records: this.#withAllowances(this.#encoder.whole(), allowances), picksUp };
  }

  /** Records that make a lane have this policy, with these allowances, in the place of the former; null for none. */
  change(policy: CompiledPolicy | null, allowances: Allowances): Uint8Array | null {
    this.#current = policy;
    if (policy === null) {
      this.#isNewToLanes = true;
      return null;
    }
    this.#encoder.encodeOwn(this.#own); // a lane without a policy was not told
    const difference = this.#encoder.encode(policy);
    const records = this.#isNewToLanes ? this.#encoder.whole() : difference;
    this.#isNewToLanes = false;
    return this.#withAllowances(records, allowances);
  }

  /** Records that tell a lane what some peers may use; undefined where nobody is limited. */
  changeAllowances(allowances: Allowances): Uint8Array | undefined {
    return this.#current === null ? undefined : this.#encoder.encodeAllowances(allowances);
  }

  #withAllowances(records: Uint8Array, allowances: Allowances): Uint8Array {
    const more = this.#encoder.encodeAllowances(allowances);
    const all = new Uint8Array(records.length + more.length);
    all.set(records);
    all.set(more, records.length);
    return all;
  }

  /** Records that tell a lane the host's own addresses; undefined where there is nothing to tell. */
  changeOwn(own: readonly IpPrefix[]): Uint8Array | undefined {
    this.#own = own;
    if (this.#current === null) return undefined;
    return this.#encoder.encodeOwn(own) ?? undefined;
  }

  /** A lane has refused a change and keeps what it had, and so does this. */
  revert(former: CompiledPolicy | null): void {
    this.#encoder = new PolicyEncoder();
    this.change(former, new Map());
    this.#isNewToLanes = true;
  }

  ruleName(number: number): RuleName | null {
    return this.#encoder.ruleName(number);
  }

  denied({ drops }: LaneFilter): DeniedPackets[] {
    return drops.map(({ peer, rule, stage, packets, bytes }) => ({
      peer,
      rule: this.ruleName(rule),
      stage: DECIDERS[stage] ?? 'default',
      packets,
      bytes,
    }));
  }
}
