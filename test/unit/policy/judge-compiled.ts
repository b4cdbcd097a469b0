// The compiled form read as its head says it is judged, without any index: what compiling made of a policy can be held
// against the evaluator before there is a core in it.

import { compareIps, type IpAddress } from '../../../src/address/ip.ts';
import { contains, type IpPrefix } from '../../../src/address/prefix.ts';
import type {
  CompiledPolicy,
  CompiledRule,
  CompiledSubject,
  Decision,
} from '../../../src/policy/compiled.ts';
import { OUTSIDE, SELF } from '../../../src/policy/compiled.ts';
import type { Crossing, FlowStart } from '../../../src/policy/evaluate.ts';

/** `own`: every address of the host. */
export function judgeCompiled(
  policy: CompiledPolicy,
  own: readonly IpAddress[],
  crossing: Crossing,
): Decision {
  const { leg, packet } = crossing;
  const isOwn = (address: IpAddress): boolean => own.some((one) => compareIps(one, address) === 0);
  const isInternet =
    !isOwn(packet.destination) && !policy.notInternet.some((prefix) => contains(prefix, packet.destination));
  const subject = part(policy.subjects, subjectName(policy, isOwn, crossing));
  const objectName = isOwn(packet.destination)
    ? null
    : longest(
        packet.destination,
        [...policy.subjects].map(([name, { addresses }]) => [name, addresses]),
      );
  const object = objectName === null ? null : part(policy.subjects, objectName);
  const rules = subject.ruleSets.flatMap((name) => part(policy.ruleSets, name));
  const fits = (rule: CompiledRule): boolean =>
    rule.legs.includes(leg) &&
    (rule.from === undefined || contains(rule.from, packet.source)) &&
    isTo(rule.to) &&
    fitsTraffic(rule, packet);
  const isTo = (to: CompiledRule['to']): boolean => {
    if (to === 'any') return true;
    if (to === 'self') return isOwn(packet.destination);
    return to === 'internet' ? isInternet : contains(to, packet.destination);
  };

  const deny = rules.find((rule) => rule.action === 'deny' && fits(rule));
  if (deny !== undefined) return { verdict: 'deny', stage: 'deny', rule: deny.rule };
  const isolation = subject.isPeer && object?.isPeer === true ? isolating(policy, subject, object) : null;
  if (isolation !== null) return { verdict: 'deny', stage: 'isolation', rule: isolation };
  const grant = rules.find((rule) => rule.action === 'allow' && fits(rule));
  if (grant !== undefined) return { verdict: 'allow', stage: 'grant', rule: grant.rule };
  const network = isOwn(packet.destination) ? subject.reachesNode : membership(policy, subject, object);
  if (network !== null) return { verdict: 'allow', stage: 'network', rule: network };
  if (isInternet && subject.internet !== null)
    return { verdict: 'allow', stage: 'internet', rule: subject.internet };
  return { verdict: 'deny', stage: 'default', rule: null };
}

function isFromExit(
  policy: CompiledPolicy,
  isOwn: (address: IpAddress) => boolean,
  { peer, packet }: Crossing,
): boolean {
  if (isOwn(packet.source)) return false;
  if (policy.notInternet.some((prefix) => contains(prefix, packet.source))) return false;
  const back: Crossing = { leg: 'out', peer, packet: { ...packet, source: packet.destination } };
  return part(policy.subjects, subjectName(policy, isOwn, back)).exit === peer;
}

function subjectName(
  policy: CompiledPolicy,
  isOwn: (address: IpAddress) => boolean,
  { leg, peer, packet }: Crossing,
): string {
  if (leg === 'in') {
    if (isFromExit(policy, isOwn, { leg, peer, packet })) return OUTSIDE;
    const { subject, sites } = part(policy.peers, peer);
    return (
      longest(
        packet.source,
        sites.map((site) => [site.subject, [site.prefix]]),
      ) ?? subject
    );
  }
  if (isOwn(packet.source)) return SELF;
  const all = [...policy.subjects].map(
    ([name, { addresses, behind }]) => [name, [...addresses, ...behind]] as const,
  );
  return longest(packet.source, all) ?? OUTSIDE;
}

function isolating(policy: CompiledPolicy, subject: CompiledSubject, object: CompiledSubject): string | null {
  const strictOf = (one: CompiledSubject, other: CompiledSubject): string | undefined =>
    one.networks.find((name) => part(policy.networks, name).isStrict && !other.networks.includes(name));
  const network = strictOf(subject, object) ?? strictOf(object, subject);
  return network === undefined ? null : part(policy.networks, network).rule;
}

function membership(
  policy: CompiledPolicy,
  subject: CompiledSubject,
  object: CompiledSubject | null,
): string | null {
  if (object === null || !object.isPeer) return null;
  const shared = subject.networks.find((name) => object.networks.includes(name));
  if (shared !== undefined && subject.reachesMembers) return part(policy.networks, shared).rule;
  return subject.reachesPeers;
}

function fitsTraffic({ protocol, ports }: CompiledRule, packet: FlowStart): boolean {
  if (protocol === undefined) return true;
  if (protocol !== packet.protocol) return false;
  return ports === undefined || (packet.port !== null && ports[0] <= packet.port && packet.port <= ports[1]);
}

/** The longest prefix; two of the same length would be the same prefix, which the compiled form never has twice. */
function longest(
  address: IpAddress,
  owners: readonly (readonly [string, readonly IpPrefix[]])[],
): string | null {
  const holding = owners.flatMap(([name, prefixes]) =>
    prefixes.filter((prefix) => contains(prefix, address)).map(({ length }) => ({ name, length })),
  );
  const [first, second] = holding.toSorted((a, b) => b.length - a.length);
  if (first !== undefined && first.length === second?.length) {
    throw new Error(`${first.name} and ${second.name} have one prefix`);
  }
  return first?.name ?? null;
}

function part<T>(parts: ReadonlyMap<string, T>, name: string): T {
  const one = parts.get(name);
  if (one === undefined) throw new Error(`the compiled policy refers to ${name}, which is not there`);
  return one;
}
