// The evaluator and the mirror of the policy in the host's rules, asked the same by real packets: a program, run in a namespace
// of its own, that puts random policies in force one after the other, writes thousands of packets into two TUN devices and
// reads from sets of another table which of them were let through.
//
//   host-verdicts.ts '{"backend", "policies", "packets", "seed", "breaks"}'   → {"cases", "difference"}
//
//   rf0  ─┐ prerouting: what gets past the policy is in seen_in
//         ├─ this host, which owns OWN
//   lan0 ─┘ postrouting to rf0: what gets past is in seen_out

import { mkdtempSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import fc from 'fast-check';
import { openTun } from 'node-tuntap2';
import { type IpAddress, renderIp } from '../../src/address/ip.ts';
import { ICMP, ICMPV6, TCP, UDP } from '../../src/address/traffic.ts';
import type { Flavour } from '../../src/firewall/backend.ts';
import { Commands } from '../../src/firewall/commands.ts';
import type { HostFacts } from '../../src/firewall/facts.ts';
import { IptablesRules } from '../../src/firewall/iptables-rules.ts';
import { type Mirror, renderMirror } from '../../src/firewall/render-mirror.ts';
import {
  markOf,
  type NftChain,
  type Ruleset,
  renderChange,
  renderScript,
} from '../../src/firewall/ruleset.ts';
import { type Compilation, compile } from '../../src/policy/compile.ts';
import { Evaluator, type FlowStart } from '../../src/policy/evaluate.ts';
import type { HostPolicy } from '../../src/policy/host.ts';
import type { Policy } from '../../src/policy/model.ts';
import { anyCrossing, anyPolicy, OWN } from '../unit/policy/arbitrary.ts';
import { ip } from '../unit/policy/documents.ts';
import { checksum } from './attacker/packets.ts';

export type VerdictOptions = {
  readonly backend: keyof typeof BACKENDS;
  readonly policies: number;
  /** Of flows that begin, under each policy; about a third as many that go on. */
  readonly packets: number;
  readonly seed: number;
  /** What to spoil, to see that it is noticed. */
  readonly breaks: 'nothing' | 'a rule' | 'an answer';
};

export type VerdictResult = { readonly cases: number; readonly difference: string | null };

/** What puts a policy in force, in the place of the one before. */
interface Backend {
  apply(compilation: Compilation, breaks: VerdictOptions['breaks']): Promise<void>;
  /** Lets everything pass until the next. */
  open(): Promise<void>;
}

const TUNNEL = 'rf0';
const LAN = 'lan0';
/** How often what did not arrive is sent again before it counts. */
const RETRIES = 2;

/** By what differs from the policy before, as a running node does it. */
class NftBackend implements Backend {
  #inForce: Ruleset | null = null;

  async apply(compilation: Compilation, breaks: VerdictOptions['breaks']): Promise<void> {
    const mirror = renderMirror(compilation, TUNNEL);
    const spoiled = { nothing: '', 'a rule': 'rf_outside', 'an answer': 'rf_policy_out/back' }[breaks];
    await this.#change({ ...mirror, chains: withFirst(mirror.chains, ({ name }) => name === spoiled) });
  }

  async open(): Promise<void> {
    if (this.#inForce === null) return;
    const { chains } = this.#inForce;
    await this.#change({ ...this.#inForce, chains: withFirst(chains, ({ hook }) => hook !== null) });
  }

  async #change(mirror: Mirror): Promise<void> {
    const ruleset = { ...mirror, table: 'rf_test' };
    const change = this.#inForce === null ? null : renderChange(this.#inForce, ruleset);
    if (this.#inForce !== null && change === null) throw new Error('a mirror is changed by what differs');
    await nft(change ?? renderScript(ruleset, markOf(ruleset), new Map()));
    this.#inForce = ruleset;
  }
}

/** With an accept of everything at the top of some chains. */
function withFirst(chains: readonly NftChain[], isIt: (chain: NftChain) => boolean): NftChain[] {
  return chains.map((chain) => (isIt(chain) ? { ...chain, rules: ['accept', ...chain.rules] } : chain));
}

/** By what keeps the rules of a node; what is open or spoiled is so by a rule of somebody else at the top. */
class IptablesBackend implements Backend {
  readonly #flavour: Flavour;
  readonly #rules: IptablesRules;
  #strangers: readonly string[] = [];

  constructor(flavour: Flavour) {
    this.#flavour = flavour;
    const runDirectory = mkdtempSync(join(tmpdir(), 'verdicts-'));
    this.#rules = new IptablesRules(new Commands(), flavour, POLICY.network, runDirectory);
  }

  async apply(compilation: Compilation, breaks: VerdictOptions['breaks']): Promise<void> {
    await this.#withStrangers([]);
    await this.#rules.apply(POLICY, { ...FACTS, mirrored: compilation });
    const spoiled = { nothing: [], 'a rule': ['POLX'], 'an answer': ['POLOB'] }[breaks];
    await this.#withStrangers(spoiled.map((suffix) => `RF-${POLICY.network}-${suffix} -j RETURN`));
  }

  async open(): Promise<void> {
    await this.#withStrangers(['PREROUTING -j ACCEPT', 'POSTROUTING -j ACCEPT']);
  }

  async #withStrangers(wanted: readonly string[]): Promise<void> {
    const lines = [
      ...this.#strangers.map((rule) => `-D ${rule}\n`),
      ...wanted.map((rule) => `-I ${rule.replace(' ', ' 1 ')}\n`),
    ];
    const input = `*mangle\n${lines.join('')}COMMIT\n`;
    for (const program of ['iptables', 'ip6tables']) {
      await execa(`${program}-${this.#flavour}-restore`, ['--noflush', '-w', '5'], { input });
    }
    this.#strangers = wanted;
  }
}

/** No rules of the host but the mirror. */
const POLICY: HostPolicy = {
  network: 'test',
  backend: 'iptables',
  stance: 'respect',
  onStop: 'remove',
  forwarding: 'off',
  mirrorsPolicy: true,
  inbound: [],
  leakGuard: { in: false, out: false, route: false },
  masquerade: [],
  snat: [],
  publish: [],
  oneToOne: [],
  process: [],
  clampsMss: false,
  exitUsers: [],
};
const FACTS: HostFacts = {
  interface: TUNNEL,
  listenPort: 51820,
  overlay: [],
  ownAddresses: OWN,
  peers: new Map(),
  sites: new Map(),
  local: [],
  connected: [],
  resolved: new Map(),
  cgroups: new Map(),
  mirrored: null,
};

const BACKENDS = {
  nft: () => new NftBackend(),
  'iptables-nft': () => new IptablesBackend('nft'),
  'iptables-legacy': () => new IptablesBackend('legacy'),
} as const;

/** What this host publishes: an address, its own or not, and what it becomes. */
const TRANSLATED = [
  ['203.0.113.7', '192.168.7.9'],
  ['203.0.113.8', '10.5.0.9'],
  ['10.9.0.22', '10.9.0.3'],
  ['2606:4700::7', 'fd07::9'],
  ['fd09::22', 'fd09::3'],
] as const;
/** Who of the LAN gets which address on the way into the tunnel. */
const MASKED = [
  ['192.168.1.9', '10.9.0.1'],
  ['2001:db8::1', 'fd09::1'],
] as const;
/** Flows that both are about. */
const ANSWERED = `meta l4proto { ${UDP}, ${ICMP}, ${ICMPV6} }`;

const OBSERVER = `
table inet observer {
  set in4 { typeof ip id; flags dynamic; size 65535; }
  set in6 { typeof ip6 flowlabel; flags dynamic; size 65535; }
  set out4 { typeof ip id; flags dynamic; size 65535; }
  set out6 { typeof ip6 flowlabel; flags dynamic; size 65535; }
  chain in { type filter hook prerouting priority -105; policy accept;
    iifname "${TUNNEL}" add @in4 { ip id }
    iifname "${TUNNEL}" add @in6 { ip6 flowlabel }
  }
  chain out { type filter hook postrouting priority 115; policy accept;
    oifname "${TUNNEL}" add @out4 { ip id }
    oifname "${TUNNEL}" add @out6 { ip6 flowlabel }
  }
  # Without a rule that asks for it, conntrack tracks nothing.
  chain tracked { type filter hook prerouting priority -200; policy accept; ct state new accept; }
  # Answers of this host itself are no part of the question.
  chain quiet { type filter hook output priority 0; policy drop; }
}
table inet translation {
  chain destinations { type nat hook prerouting priority -100; policy accept;
${TRANSLATED.map(([from, to]) => `    ${ANSWERED} ${from.includes(':') ? `ip6 daddr ${from} dnat ip6` : `ip daddr ${from} dnat ip`} to ${to}\n`).join('')}
  }
  chain sources { type nat hook postrouting priority 100; policy accept;
${MASKED.map(([from, to]) => `    iifname "${LAN}" oifname "${TUNNEL}" ${ANSWERED} ${from.includes(':') ? `ip6 saddr ${from} snat ip6` : `ip saddr ${from} snat ip`} to ${to}\n`).join('')}
  }
}
`;

async function nft(script: string): Promise<void> {
  await execa('nft', ['-f', '-'], { input: script });
}

/** A packet to be sent, and where it should be seen; null: that is no part of the question. */
interface Case {
  readonly words: string;
  readonly device: typeof TUNNEL | typeof LAN;
  readonly packet: FlowStart;
  readonly sourcePort: number;
  readonly isIn: boolean;
  readonly isOut: boolean | null;
}

/** What each tunnel says that a flow crosses; null where it crosses none. */
interface Legs {
  readonly in: boolean | null;
  readonly out: boolean | null;
}

/** A flow, what becomes of it, and its packet as it leaves. */
interface Flow {
  readonly legs: Legs;
  readonly packet: FlowStart;
  readonly leaving: FlowStart;
}

class Wires {
  readonly #devices = {
    [TUNNEL]: openTun({ name: TUNNEL, exclusive: true }).fd,
    [LAN]: openTun({ name: LAN, exclusive: true }).fd,
  };

  static async open(): Promise<Wires> {
    const wires = new Wires();
    const routes = ['0.0.0.0/0', '2000::/3', 'fd05::/64', 'fd07::/64', 'fd09::/64'];
    const lines = [
      ...['lo', TUNNEL, LAN].map((name) => `link set ${name} up`),
      ...OWN.map(
        (own) =>
          `address add ${renderIp(own)}/${own.bytes.length * 8} dev ${LAN}${own.version === 6 ? ' nodad' : ''}`,
      ),
      ...routes.map((route) => `route add ${route} dev ${TUNNEL}`),
    ];
    await execa('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
    const settings = {
      'net.ipv4.ip_forward': 1,
      'net.ipv6.conf.all.forwarding': 1,
      ...Object.fromEntries(
        ['all', TUNNEL, LAN].flatMap((name) => [
          [`net.ipv4.conf.${name}.rp_filter`, 0],
          [`net.ipv4.conf.${name}.accept_local`, 1],
        ]),
      ),
    };
    await execa('sysctl', ['-qw', ...Object.entries(settings).map(([key, value]) => `${key}=${value}`)]);
    await nft(OBSERVER);
    return wires;
  }

  /** Which of them were seen on their way in, and out: by their place in the list. */
  async send(
    cases: readonly Case[],
  ): Promise<{ readonly in: ReadonlySet<number>; readonly out: ReadonlySet<number> }> {
    const sets = ['in4', 'in6', 'out4', 'out6'];
    await nft(sets.map((set) => `flush set inet observer ${set}\n`).join(''));
    for (const [i, one] of cases.entries()) writeSync(this.#devices[one.device], bytesOf(one, i + 1));
    const seen = new Map<string, number[]>();
    for (const set of sets) {
      const { stdout } = await execa('nft', ['-j', 'list', 'set', 'inet', 'observer', set]);
      const listed = JSON.parse(stdout) as { nftables: { set?: { elem?: (number | string)[] } }[] };
      seen.set(
        set,
        (listed.nftables.find((entry) => entry.set !== undefined)?.set?.elem ?? []).map(
          (id) => Number(id) - 1,
        ),
      );
    }
    const both = (leg: string): Set<number> =>
      new Set([...(seen.get(`${leg}4`) ?? []), ...(seen.get(`${leg}6`) ?? [])]);
    return { in: both('in'), out: both('out') };
  }
}

/** IPv4 carries its number as identification, IPv6 as flow label. */
function bytesOf({ packet, sourcePort }: Case, id: number): Uint8Array {
  const { source, destination, protocol, port } = packet;
  const payload = new Uint8Array(protocol === TCP ? 20 : 8);
  const view = new DataView(payload.buffer);
  if (protocol === ICMP || protocol === ICMPV6) {
    payload[0] = port ?? 0;
    view.setUint16(4, sourcePort);
  } else if (port !== null) {
    view.setUint16(0, sourcePort);
    view.setUint16(2, port);
  }
  if (protocol === TCP) payload.set([5 << 4, 0x02, 0xff, 0xff], 12);
  if (protocol === UDP) view.setUint16(4, payload.length);
  const place = { [TCP]: 16, [UDP]: 6, [ICMP]: 2, [ICMPV6]: 2 }[protocol];
  const pseudo =
    protocol === ICMP
      ? []
      : [source.bytes, destination.bytes, Uint8Array.of(0, 0, 0, protocol, 0, 0, 0, payload.length)];
  if (place !== undefined) view.setUint16(place, checksum(...pseudo, payload) || 0xffff);
  return Uint8Array.of(...headerOf(packet, payload.length, id), ...payload);
}

function headerOf({ source, destination, protocol }: FlowStart, length: number, id: number): Uint8Array {
  const isV4 = source.version === 4;
  const header = new Uint8Array(isV4 ? 20 : 40);
  const view = new DataView(header.buffer);
  header.set(source.bytes, isV4 ? 12 : 8);
  header.set(destination.bytes, isV4 ? 16 : 24);
  if (isV4) {
    header.set([0x45, 0, 0, 20 + length]);
    view.setUint16(4, id);
    header.set([64, protocol], 8);
    view.setUint16(10, checksum(header));
  } else {
    view.setUint32(0, (6 << 28) | id);
    view.setUint16(4, length);
    header.set([protocol, 64], 6);
  }
  return header;
}

/** What should become of packets under one policy, by the tunnels they take. */
class Expectation {
  readonly #evaluator: Evaluator;

  constructor(policy: Policy) {
    this.#evaluator = new Evaluator(policy, OWN);
  }

  /** The flow that a packet opens; null where no packet can be so on a real host. */
  flow(from: 'in' | 'out', packet: FlowStart): Flow | null {
    const sent = translated(packet);
    const { source, destination } = sent;
    const exit = isOwn(destination) ? null : (this.#evaluator.routeOf(destination)?.name ?? null);
    const entry = this.#evaluator.routeOf(source)?.name ?? null;
    if (from === 'in' && (entry === null || isOwn(source))) return null;
    if (exit === null && (from === 'out' || !isOwn(destination))) return null;
    const leaving = from === 'out' ? masked(sent) : sent;
    const allows = (leg: 'in' | 'out', peer: string | null, seen: FlowStart): boolean | null =>
      peer === null ? null : this.#evaluator.judge({ leg, peer, packet: seen }).verdict === 'allow';
    const legs = {
      in: from === 'in' ? allows('in', entry, packet) : null,
      out: allows('out', exit, leaving),
    };
    return { legs, packet, leaving };
  }
}

/** What conntrack follows, and these rules are about. */
function isTranslated({ source, protocol }: FlowStart): boolean {
  return protocol === UDP || protocol === (source.version === 4 ? ICMP : ICMPV6);
}

function translated(packet: FlowStart): FlowStart {
  const to = new Map<string, string>(TRANSLATED).get(renderIp(packet.destination));
  return to === undefined || !isTranslated(packet) ? packet : { ...packet, destination: ip(to) };
}

function masked(packet: FlowStart): FlowStart {
  const to = new Map<string, string>(MASKED).get(renderIp(packet.source));
  return to === undefined || !isTranslated(packet) ? packet : { ...packet, source: ip(to) };
}

/** The packet that opens a flow, or goes on in its direction. */
function packetOf({ legs, packet }: Flow, sourcePort: number): Case {
  const isIn = legs.in === true;
  const device = legs.in === null ? LAN : TUNNEL;
  const isOut = (legs.in ?? true) && legs.out === true;
  return { words: `${device}: ${wordsOf(packet)}`, device, packet, sourcePort, isIn, isOut };
}

/** What comes back: by the tunnel that the flow left by, and out by the one it came by. */
function answerOf({ legs, packet, leaving }: Flow, sourcePort: number): Case {
  const { source, destination, protocol, port } = leaving;
  const isEcho = protocol !== UDP;
  const answer = {
    source: destination,
    destination: source,
    protocol,
    port: isEcho ? (port === 8 ? 0 : 129) : sourcePort,
  };
  return {
    words: `answer to ${wordsOf(packet)}`,
    device: legs.out === null ? LAN : TUNNEL,
    packet: answer,
    sourcePort: isEcho ? sourcePort : (port ?? 0),
    isIn: legs.out === true,
    isOut: legs.in === null ? null : legs.in && (legs.out ?? true),
  };
}

function isOwn(address: IpAddress): boolean {
  return OWN.some((own) => renderIp(own) === renderIp(address));
}

function isRoutable({ bytes, version }: IpAddress): boolean {
  return version === 4 || bytes[0] !== 0xfe; // link-local addresses are not forwarded
}

/** The first packet of a flow, and whether it comes by a tunnel. */
type Start = { readonly leg: 'in' | 'out'; readonly packet: FlowStart };

const anyStart: fc.Arbitrary<Start> = anyCrossing.filter(
  ({ packet: { source, destination, protocol, port } }) => {
    const hasPort = port !== null || protocol > UDP;
    return hasPort && isRoutable(source) && isRoutable(destination);
  },
);

class Trial {
  readonly #wires: Wires;
  readonly #backend: Backend;
  readonly #options: VerdictOptions;
  readonly #ends = new Set<string>();
  #lastPort = 1_024;
  cases = 0;

  constructor(wires: Wires, options: VerdictOptions) {
    this.#wires = wires;
    this.#backend = BACKENDS[options.backend]();
    this.#options = options;
  }

  /** Null, or the first difference. */
  async run(policy: Policy, starts: readonly Start[]): Promise<string | null> {
    const expectation = new Expectation(policy);
    const flows = starts.flatMap(({ leg, packet }) => {
      const flow = expectation.flow(leg, packet);
      return flow === null || this.#isBack(packet) || this.#isUnread(packet) ? [] : [flow];
    });
    const first = flows
      .filter((flow) => this.#isFirstKnown(flow))
      .map((flow) => packetOf(flow, this.#port()));
    // Others begin before there is a policy, and go on under it, both ways.
    const earlier = flows
      .filter(({ packet }) => isAnswerable(packet))
      .map((flow) => ({ flow, sourcePort: this.#port() }));
    await this.#backend.open();
    const begun = earlier.map(({ flow, sourcePort }) => packetOf(flow, sourcePort));
    await this.#wires.send(begun);
    await this.#backend.apply(compile(policy), this.#options.breaks);
    const answers = earlier.map(({ flow, sourcePort }) => answerOf(flow, sourcePort));
    const all = [...first, ...begun, ...answers];
    this.cases += all.length;
    return await this.#compare(all);
  }

  /** iptables does not read types of the other version's ICMP. */
  #isUnread({ source, protocol }: FlowStart): boolean {
    return this.#options.backend !== 'nft' && protocol === (source.version === 4 ? ICMPV6 : ICMP);
  }

  /** iptables sees the first packet of a flow as it is before rules of others change its source. */
  #isFirstKnown({ packet, leaving }: Flow): boolean {
    return this.#options.backend === 'nft' || packet.source === leaving.source;
  }

  /** Whether it would be an answer: what has no ports is one flow between two ends. */
  #isBack({ source, destination, protocol, port }: FlowStart): boolean {
    if ([TCP, UDP].includes(protocol) || isEchoRequest(source, protocol, port)) return false;
    const ends = `${protocol} ${renderIp(source)} ${renderIp(destination)}`;
    this.#ends.add(ends);
    return this.#ends.has(`${protocol} ${renderIp(destination)} ${renderIp(source)}`);
  }

  async #compare(all: readonly Case[]): Promise<string | null> {
    const [seenIn, seenOut] = [new Set<number>(), new Set<number>()];
    for (let attempt = 0; attempt <= RETRIES; attempt++) {
      const seen = await this.#wires.send(all);
      for (const id of seen.in) seenIn.add(id);
      for (const id of seen.out) seenOut.add(id);
      if (all.every(({ isIn, isOut }, i) => (!isIn || seenIn.has(i)) && (isOut !== true || seenOut.has(i))))
        break;
    }
    for (const [i, { words, isIn, isOut }] of all.entries()) {
      if (isIn === seenIn.has(i) && (isOut ?? seenOut.has(i)) === seenOut.has(i)) continue;
      return `${words}: in ${seenIn.has(i)}, which should be ${isIn}; out ${seenOut.has(i)}, which should be ${isOut}`;
    }
    return null;
  }

  #port(): number {
    this.#lastPort = this.#lastPort === 65_535 ? 1_025 : this.#lastPort + 1;
    return this.#lastPort;
  }
}

function isEchoRequest({ version }: IpAddress, protocol: number, port: number | null): boolean {
  return version === 4 ? protocol === ICMP && port === 8 : protocol === ICMPV6 && port === 128;
}

function isAnswerable({ source, protocol, port }: FlowStart): boolean {
  return protocol === UDP || isEchoRequest(source, protocol, port);
}

function wordsOf({ source, destination, protocol, port }: FlowStart): string {
  return `${renderIp(source)} → ${renderIp(destination)} ${protocol}/${port}`;
}

const options = JSON.parse(process.argv[2] ?? '{}') as VerdictOptions;
const trial = new Trial(await Wires.open(), options);
const policies = fc.sample(anyPolicy, { numRuns: options.policies, seed: options.seed });
let difference: string | null = null;
for (const [i, policy] of policies.entries()) {
  const starts = fc.sample(anyStart, { numRuns: options.packets, seed: options.seed + i });
  difference = await trial.run(policy, starts);
  if (difference === null) continue;
  difference = `policy ${i}: ${difference}`;
  break;
}
const result: VerdictResult = { cases: trial.cases, difference };
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
