// The compiled form → records for the core's filter: whole for a core that has none, else what is different. Names get
// numbers here, and keep them as long as they are used. Its twin is wasm/core/src/filter/decode.rs, which draws the records.

import type { IpPrefix } from '../address/prefix.ts';
import {
  type Allowances,
  type CompiledLimits,
  type CompiledNetwork,
  type CompiledPeer,
  type CompiledPolicy,
  type CompiledRule,
  type CompiledSubject,
  OUTSIDE,
  type RuleName,
  SELF,
} from './compiled.ts';

export const RECORD_BYTES = 64;
/** Names of rules that are no longer used are forgotten when there are this many more than twice those in use. */
const MOST_STALE_RULES = 1_000;

const KIND = {
  policy: 1,
  ruleSet: 2,
  rule: 3,
  network: 4,
  subject: 5,
  itsRuleSet: 6,
  itsNetwork: 7,
  itsAddress: 8,
  peer: 9,
  itsSite: 10,
  dropRuleSet: 11,
  dropNetwork: 12,
  dropSubject: 13,
  dropPeer: 14,
  notInternet: 15,
  ownAddress: 16,
  itsNetworkBehind: 17,
  itsLimits: 18,
  allowance: 19,
  services: 20,
  itsExit: 21,
} as const;

const IN = 1;
const OUT = 2;
const TO = { any: 0, self: 1, internet: 2 } as const;
const IS_PEER = 1;
const REACHES_MEMBERS = 2;

/** Records, one behind the other. */
class Records {
  #bytes = new Uint8Array(16 * RECORD_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #end = 0;
  #at = 0;

  /** Begins the next record. What follows is written to it. */
  begin(kind: number): this {
    if (this.#end === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#at = this.#end;
    this.#end += RECORD_BYTES;
    return this.byte(0, kind);
  }

  byte(offset: number, value: number): this {
    this.#view.setUint8(this.#at + offset, value);
    return this;
  }

  half(offset: number, value: number): this {
    this.#view.setUint16(this.#at + offset, value, true);
    return this;
  }

  word(offset: number, value: number): this {
    this.#view.setUint32(this.#at + offset, value, true);
    return this;
  }

  /** 64 bits, for what outgrows 32. */
  long(offset: number, value: bigint): this {
    this.#view.setBigUint64(this.#at + offset, value, true);
    return this;
  }

  bytes(offset: number, value: Uint8Array): this {
    this.#bytes.set(value, this.#at + offset);
    return this;
  }

  /** Version and length at two bytes from `head` on, the address at `offset`. */
  prefix(head: number, offset: number, { address, length }: IpPrefix): this {
    return this.byte(head, address.version)
      .byte(head + 1, length)
      .bytes(offset, address.bytes);
  }

  all(): Uint8Array {
    return this.#bytes.slice(0, this.#end);
  }
}

/** The parts of one kind: the number of each name, and the records it was last written as. */
class Parts {
  readonly #numbers = new Map<string, number>();
  readonly #written = new Map<string, Uint8Array>();
  /** What each was written from: the same object again needs no second look. */
  readonly #sources = new Map<string, object>();
  readonly #free: number[] = [];
  #next: number;
  readonly #dropKind: number;

  constructor(dropKind: number, reserved: readonly string[] = []) {
    this.#dropKind = dropKind;
    this.#next = reserved.length;
    for (const [number, name] of reserved.entries()) this.#numbers.set(name, number);
  }

  number(name: string): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    const number = this.#free.pop() ?? this.#next++;
    this.#numbers.set(name, number);
    return number;
  }

  /** The part is what `encode` makes of `source` from now on. Returns its records, or null if it was so before. */
  write<T extends object>(
    name: string,
    source: T,
    encode: (number: number, source: T) => Uint8Array,
  ): Uint8Array | null {
    if (this.#sources.get(name) === source) return null;
    this.#sources.set(name, source);
    const records = encode(this.number(name), source);
    const former = this.#written.get(name);
    if (former !== undefined && isSame(former, records)) return null;
    this.#written.set(name, records);
    return records;
  }

  /** Forgets the parts that are not in `present`; returns what tells the core. */
  drop(present: ReadonlyMap<string, unknown>): Uint8Array {
    const records = new Records();
    for (const name of [...this.#written.keys()].filter((one) => !present.has(one))) {
      const number = this.number(name);
      records.begin(this.#dropKind).word(4, number);
      this.#written.delete(name);
      this.#sources.delete(name);
      this.#numbers.delete(name);
      this.#free.push(number);
    }
    return records.all();
  }

  has(name: string): boolean {
    return this.#written.has(name);
  }

  all(): Iterable<Uint8Array> {
    return this.#written.values();
  }
}

/** One core's policy as it was last encoded. */
export class PolicyEncoder {
  readonly #ruleSets = new Parts(KIND.dropRuleSet);
  readonly #networks = new Parts(KIND.dropNetwork);
  readonly #subjects = new Parts(KIND.dropSubject, [SELF, OUTSIDE]);
  readonly #peers = new Parts(KIND.dropPeer);
  readonly #rules = new Map<RuleName, number>();
  readonly #ruleNames = new Map<number, RuleName>();
  #nextRule = 1;
  /** So many names may be known before those in use are counted again. */
  #mostRules = 0;
  #denial: CompiledPolicy['denial'] = 'drop';
  /** Records of prefixes that belong to no part. */
  #notInternet = new Uint8Array();
  /** What those of the internet were written from: the same list again needs no second look. */
  #notInternetOf: readonly IpPrefix[] = [];
  #own = new Uint8Array();
  #services: string | null = null;

  /** What makes a core that has the policy encoded last have this one. */
  encode(policy: CompiledPolicy): Uint8Array {
    // Numbers that become free are given away again, so what goes comes first.
    const pieces = [
      this.#ruleSets.drop(policy.ruleSets),
      this.#networks.drop(policy.networks),
      this.#subjects.drop(policy.subjects),
      this.#peers.drop(policy.peers),
    ];
    const add = (records: Uint8Array | null): void => {
      if (records !== null) pieces.push(records);
    };
    this.#denial = policy.denial;
    add(this.#header(false));
    for (const [name, rules] of policy.ruleSets) add(this.#ruleSets.write(name, rules, this.#ruleSet));
    for (const [name, network] of policy.networks) add(this.#networks.write(name, network, this.#network));
    for (const [name, subject] of policy.subjects) add(this.#subjects.write(name, subject, this.#subject));
    for (const [name, peer] of policy.peers) add(this.#peers.write(name, peer, this.#peer));
    if (policy.services !== this.#services) {
      this.#services = policy.services;
      add(this.#servicesRecord());
    }
    if (policy.notInternet !== this.#notInternetOf) {
      const notInternet = prefixes(KIND.notInternet, policy.notInternet);
      if (!isSame(notInternet, this.#notInternet)) add(notInternet);
      this.#notInternet = notInternet;
      this.#notInternetOf = policy.notInternet;
    }
    this.#forgetRules(policy);
    return joined(pieces);
  }

  /** What tells the core that the host's own addresses are these; null if they were so before. */
  encodeOwn(own: readonly IpPrefix[]): Uint8Array | null {
    const records = prefixes(KIND.ownAddress, own);
    if (isSame(records, this.#own)) return null;
    this.#own = records;
    return records;
  }

  /** What tells the core that these peers may use so much. Of peers that are not in the policy it is not told. */
  encodeAllowances(allowances: Allowances): Uint8Array {
    const records = new Records();
    for (const [name, bytes] of allowances) {
      if (!this.#peers.has(name)) continue;
      records.begin(KIND.allowance).word(4, this.#peers.number(name)).long(8, bytes);
    }
    return records.all();
  }

  #servicesRecord(): Uint8Array {
    const records = new Records().begin(KIND.services);
    if (this.#services !== null) records.byte(1, 1).word(4, this.#ruleSets.number(this.#services));
    return records.all();
  }

  /** All of it, for a core that has no policy. */
  whole(): Uint8Array {
    const kinds = [this.#ruleSets, this.#networks, this.#subjects, this.#peers];
    return joined([
      this.#header(true),
      ...kinds.flatMap((parts) => [...parts.all()]),
      this.#servicesRecord(),
      this.#notInternet,
      this.#own,
    ]);
  }

  /** The rule that the core calls by this number; null for 0, and for one that is gone. */
  ruleName(number: number): RuleName | null {
    return this.#ruleNames.get(number) ?? null;
  }

  #header(isWhole: boolean): Uint8Array {
    const rejects = this.#denial === 'reject' ? 1 : 0;
    return new Records()
      .begin(KIND.policy)
      .byte(1, rejects)
      .byte(2, isWhole ? 1 : 0)
      .all();
  }

  readonly #ruleSet = (number: number, rules: readonly CompiledRule[]): Uint8Array => {
    const records = new Records().begin(KIND.ruleSet).word(4, number);
    for (const rule of rules) this.#putRule(records, rule);
    return records.all();
  };

  #putRule(records: Records, { rule, action, legs, to, from, protocol, ports }: CompiledRule): void {
    records
      .begin(KIND.rule)
      .byte(1, action === 'deny' ? 1 : 0)
      .byte(2, (legs.includes('in') ? IN : 0) | (legs.includes('out') ? OUT : 0))
      .word(16, this.#ruleNumber(rule));
    if (typeof to === 'string') records.byte(3, TO[to]);
    else records.prefix(3, 32, to);
    if (from !== undefined) records.prefix(5, 48, from);
    if (protocol !== undefined) records.byte(7, 1).byte(8, protocol);
    if (ports !== undefined) records.byte(9, 1).half(10, ports[0]).half(12, ports[1]);
  }

  readonly #network = (number: number, { rule, isStrict }: CompiledNetwork): Uint8Array => {
    return new Records()
      .begin(KIND.network)
      .byte(1, isStrict ? 1 : 0)
      .word(4, number)
      .word(8, this.#ruleNumber(rule))
      .all();
  };

  readonly #subject = (number: number, subject: CompiledSubject): Uint8Array => {
    const byRow = (rule: RuleName | null): number => (rule === null ? 0 : this.#ruleNumber(rule));
    const records = new Records()
      .begin(KIND.subject)
      .byte(1, (subject.isPeer ? IS_PEER : 0) | (subject.reachesMembers ? REACHES_MEMBERS : 0))
      .word(4, number)
      .word(8, byRow(subject.reachesPeers))
      .word(12, byRow(subject.reachesNode))
      .word(16, byRow(subject.internet));
    for (const set of subject.ruleSets) records.begin(KIND.itsRuleSet).word(4, this.#ruleSets.number(set));
    for (const network of subject.networks)
      records.begin(KIND.itsNetwork).word(4, this.#networks.number(network));
    for (const prefix of subject.addresses) records.begin(KIND.itsAddress).prefix(1, 32, prefix);
    for (const prefix of subject.behind) records.begin(KIND.itsNetworkBehind).prefix(1, 32, prefix);
    if (subject.exit !== null) records.begin(KIND.itsExit).word(4, this.#peers.number(subject.exit));
    return records.all();
  };

  readonly #peer = (number: number, { publicKey, subject, sites, limits }: CompiledPeer): Uint8Array => {
    const records = new Records()
      .begin(KIND.peer)
      .word(4, number)
      .word(8, this.#subjects.number(subject))
      .bytes(32, publicKey);
    for (const site of sites)
      records.begin(KIND.itsSite).prefix(1, 32, site.prefix).word(8, this.#subjects.number(site.subject));
    if (limits !== null) this.#putLimits(records, limits);
    return records.all();
  };

  #putLimits(records: Records, { up, down, quota }: CompiledLimits): void {
    const over = quota === null || quota.over === 'deny' ? 0 : quota.over;
    records
      .begin(KIND.itsLimits)
      .long(16, BigInt(up ?? 0))
      .long(24, BigInt(down ?? 0))
      .long(32, BigInt(over));
    if (quota !== null) records.byte(1, 1).word(8, this.#ruleNumber(quota.rule));
  }

  #ruleNumber(name: RuleName): number {
    const known = this.#rules.get(name);
    if (known !== undefined) return known;
    const number = this.#nextRule++;
    this.#rules.set(name, number);
    this.#ruleNames.set(number, name);
    return number;
  }

  /** A number is never given to another name: a counter of the core may still speak of it. */
  #forgetRules({ ruleSets, networks, subjects, peers }: CompiledPolicy): void {
    if (this.#rules.size <= this.#mostRules) return; // counting those in use takes longer than one peer's change
    const inUse = new Set<RuleName | null>();
    for (const rules of ruleSets.values()) for (const { rule } of rules) inUse.add(rule);
    for (const { rule } of networks.values()) inUse.add(rule);
    for (const { reachesPeers, reachesNode, internet } of subjects.values()) {
      inUse.add(reachesPeers).add(reachesNode).add(internet);
    }
    for (const { limits } of peers.values()) inUse.add(limits?.quota?.rule ?? null);
    this.#mostRules = 2 * inUse.size + MOST_STALE_RULES;
    if (this.#rules.size <= this.#mostRules) return;
    for (const [name, number] of this.#rules) {
      if (inUse.has(name)) continue;
      this.#rules.delete(name);
      this.#ruleNames.delete(number);
    }
  }
}

/** A list of prefixes in the place of the one there was. */
function prefixes(kind: number, list: readonly IpPrefix[]): Uint8Array<ArrayBuffer> {
  const records = new Records().begin(kind);
  for (const prefix of list) records.begin(kind).prefix(1, 32, prefix);
  return new Uint8Array(records.all());
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
