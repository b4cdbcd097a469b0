// What a probe says of the path that it was to try: whether it arrived, else who dropped it, and what would let it pass.

import { readFileSync } from 'node:fs';
import { type IpAddress, renderIp } from '../address/ip.ts';
import { ANY_PORT, type PlannedPath, type Probe } from './probe-plan.ts';
import type { Dropper } from './probe-trace.ts';
import { tableName } from './render-nft.ts';
import { STEPS, type Step } from './render-probe.ts';

/** Something that is to work, and whether it does. */
export interface TestedPath {
  readonly name: string;
  /** `unknown`: it could not be tried. */
  readonly effective: 'yes' | 'no' | 'unknown';
  /** What drops it, such as `inet admin input`; null where it passes, or nobody can say. */
  readonly by: string | null;
  /** A sentence: which packet was dropped by which rule, or why none could be tried; null where it passes. */
  readonly why: string | null;
  /** What lets it pass, to be typed by whoever owns the chain; null where that is not so simple. */
  readonly remedy: string | null;
}

/** What became of a probe. */
export type Outcome =
  | { readonly kind: 'arrived' }
  | {
      readonly kind: 'lost';
      readonly by: string | null;
      readonly why: string;
      readonly remedy: string | null;
    }
  | { readonly kind: 'untried'; readonly why: string };

export const ARRIVED: Outcome = { kind: 'arrived' };

/** Whose rules are in force, and whether those of the policy of the peers are among them. */
export interface OwnRules {
  readonly network: string;
  readonly tunnel: string;
  readonly isMirrored: boolean;
}

/** What became of a probe that did not arrive at first: how far it came, and who nft says dropped it. */
export function explain(
  probe: Probe,
  last: Step | null | undefined,
  dropper: Dropper | null,
  own: OwnRules,
): Outcome {
  if (last === null) return ARRIVED; // a rule that lets some pass and some not
  const what = describe(probe);
  if (last === undefined) return { kind: 'untried', why: `${what} does not get into this host's rules` };
  const steps = STEPS[probe.way];
  const after = steps[steps.indexOf(last) + 1]?.after ?? null;
  const legacy = after !== null && after !== 'routes' && isLegacy(probe, after.table) ? after : null;
  const family = probe.source.version === 4 ? 'ip' : 'ip6';
  const by =
    dropper?.chain ?? (legacy && `${family} ${legacy.table} ${legacy.chain} (iptables-legacy)`) ?? null;
  if (by !== null && isMirror(probe, by, own)) {
    return { kind: 'untried', why: `${what} is not for that peer, by the policy of the peers in ${by}` };
  }
  if (by !== null && dropper !== null) {
    return {
      kind: 'lost',
      by,
      why: `${what} is dropped by ${by}: ${dropper.rule}`,
      remedy: remedyFor(probe, by),
    };
  }
  if (by !== null && legacy !== null) {
    const remedy = iptablesRemedy(probe, 'legacy', legacy.table, legacy.chain);
    return { kind: 'lost', by, why: `${what} is dropped by ${by}`, remedy };
  }
  const why =
    after === 'routes'
      ? `${what} is dropped by no rule, but this host does not route it there (route, forwarding, rp_filter)`
      : `${what} is lost, or translated to somewhere else, after ${last.hook}`;
  return { kind: 'lost', by: null, why, remedy: null };
}

/** One that is not followed, for there are many. */
export function lostAmongMany(probe: Probe): Outcome {
  return { kind: 'lost', by: null, why: `${describe(probe)} is dropped, as many are`, remedy: null };
}

/** Whether it is the policy of the peers, once more, that drops a packet at the tunnel: that is no fault of anybody's rules. */
function isMirror({ from, way }: Probe, by: string, { network, tunnel, isMirrored }: OwnRules): boolean {
  const isAtTunnel = way === 'through' || ('interface' in from && from.interface === tunnel);
  const isOurs = by.startsWith(`inet ${tableName(network)} `) || by.includes(`RF-${network}-`);
  // Legacy iptables does not say which chain of a table it was.
  return isMirrored && isAtTunnel && (isOurs || /^ip6? (?:raw|mangle) .*legacy/.test(by));
}

/** An accept at the top of the chain that drops. Chains of programs that write them anew have their own way (openings.ts). */
function remedyFor(probe: Probe, chain: string): string | null {
  const [family = '', table = '', name = ''] = chain.split(' ');
  if (table.startsWith('rf_') || table === 'firewalld' || table.startsWith('docker-')) return null;
  const isIptables = (family === 'ip' || family === 'ip6') && /^(raw|mangle|filter|security)$/.test(table);
  if (isIptables) return iptablesRemedy(probe, 'nft', table, name);
  const { protocol, way, from } = probe;
  const { address, port } = arrivalOf(probe);
  const who = 'interface' in from ? `iifname "${from.interface}"` : `meta skuid ${from.user}`;
  const to = way === 'in' ? '' : ` ${address.version === 4 ? 'ip' : 'ip6'} daddr ${renderIp(address)}`;
  const ports = port === ANY_PORT ? '' : ` ${protocol} dport ${port}`;
  return `nft insert rule ${chain} ${who}${to}${ports} accept`;
}

function iptablesRemedy(probe: Probe, flavour: 'nft' | 'legacy', table: string, chain: string): string {
  const { protocol, way, from } = probe;
  const { address, port } = arrivalOf(probe);
  const program = `${address.version === 4 ? 'iptables' : 'ip6tables'}${flavour === 'legacy' ? '-legacy' : ''}`;
  const who = 'interface' in from ? `-i ${from.interface}` : `-m owner --uid-owner ${from.user}`;
  const to = way === 'in' ? '' : ` -d ${renderIp(address)}`;
  const ports = port === ANY_PORT ? '' : ` -p ${protocol} --dport ${port}`;
  return `${program} -t ${table} -I ${chain} 1 ${who}${to}${ports} -j ACCEPT`;
}

/** As the filters see it: DNAT is behind it. */
function arrivalOf({ arrival, destination, port }: Probe): { address: IpAddress; port: number } {
  return arrival ?? { address: destination, port };
}

/** Whether legacy iptables has a table: there is no such file where nobody uses it. */
function isLegacy({ source }: Probe, table: string): boolean {
  try {
    const file = source.version === 4 ? '/proc/net/ip_tables_names' : '/proc/net/ip6_tables_names';
    return readFileSync(file, 'utf8').split('\n').includes(table);
  } catch {
    return false;
  }
}

function describe({ protocol, source, destination, port, from }: Probe): string {
  const by = 'interface' in from ? `by ${from.interface}` : `of user ${from.user}`;
  return `${protocol.toUpperCase()} from ${renderIp(source)} ${by} to ${renderIp(destination)} port ${port}`;
}

/** One that is lost decides; then one that could not be tried. */
export function judge(
  { name, probes, obstacle }: PlannedPath,
  outcomes: ReadonlyMap<Probe, Outcome>,
): TestedPath {
  const passed = { name, effective: 'yes', by: null, why: null, remedy: null } as const;
  if (obstacle !== null) return { ...passed, effective: 'unknown', why: obstacle };
  const all = probes.map((probe) => outcomes.get(probe));
  const lost =
    all.find((outcome) => outcome?.kind === 'lost' && outcome.by !== null) ??
    all.find((outcome) => outcome?.kind === 'lost');
  if (lost?.kind === 'lost') {
    const { by, why, remedy } = lost;
    return { name, effective: 'no', by, why, remedy };
  }
  if (all.every((outcome) => outcome?.kind === 'arrived')) return passed;
  const untried = all.find((outcome) => outcome?.kind === 'untried');
  const why = untried?.kind === 'untried' ? untried.why : null;
  return { ...passed, effective: 'unknown', why };
}
