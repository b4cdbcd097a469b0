// The evaluator and the core, asked the same: random policies, compiled and encoded as a node does it, and random packets on
// both legs, IPv4 and IPv6. With flows, what the core does is held against a list of flows that is as slow as it is plain.

import fc from 'fast-check';
import { compareIps, type IpAddress, renderIp } from '../../src/address/ip.ts';
import { hostPrefix } from '../../src/address/prefix.ts';
import { compile as compilePolicy } from '../../src/policy/compile.ts';
import { STAGES } from '../../src/policy/compiled.ts';
import { PolicyEncoder } from '../../src/policy/encode.ts';
import { type Crossing, Evaluator } from '../../src/policy/evaluate.ts';
import type { Policy } from '../../src/policy/model.ts';
import { anyCrossing, anyPolicy, OWN } from '../unit/policy/arbitrary.ts';
import { CoreHarness } from './core-columns.ts';

const TCP = 6;
const UDP = 17;
const ICMP_PROTOCOLS = [1, 58];
const SOURCE_PORT = 5_000;

/** How long to try. */
type Runs = Pick<
  fc.Parameters<unknown>,
  'numRuns' | 'interruptAfterTimeLimit' | 'markInterruptAsFailure' | 'endOnFailure'
>;

/** What a packet is made of, beside its crossing. */
interface Packet extends Crossing {
  readonly sourcePort: number;
}

/** A core that is given one policy after the other, each as a change of the last. */
class JudgingCore {
  readonly #core = new CoreHarness().core;
  readonly #encoder = new PolicyEncoder();
  readonly #ids = new Map<string, number>();

  constructor() {
    this.#core.setIdentity(new Uint8Array(32).fill(9));
    this.#core.enableFilter(false);
  }

  setPolicy(policy: Policy): void {
    for (const { name, publicKey } of policy.peers) {
      if (!this.#ids.has(name))
        this.#ids.set(name, this.#core.addPeer({ publicKey, persistentKeepaliveSeconds: 0 }));
    }
    this.#core.beginPolicy();
    this.#core.stagePolicy(this.#encoder.encode(compilePolicy(policy).policy));
    this.#core.stagePolicy(this.#encoder.encodeOwn(OWN.map(hostPrefix)) ?? new Uint8Array());
    this.#core.commitPolicy();
  }

  /** Verdict, stage and rule, of the first packet of a flow. */
  judge(crossing: Crossing): string {
    const packet = bytesOf({ ...crossing, sourcePort: SOURCE_PORT });
    const said = this.#core.judge(crossing.leg, this.#id(crossing), packet, 'first');
    if ('reason' in said) return said.reason;
    return words(said.isAllowed, STAGES[said.stage], this.#encoder.ruleName(said.rule));
  }

  /** Whether a packet that comes now passes. */
  passes(packet: Packet): boolean {
    return this.#core.judge(packet.leg, this.#id(packet), bytesOf(packet), 'arrived').isAllowed;
  }

  #id({ peer }: Crossing): number {
    const id = this.#ids.get(peer);
    if (id === undefined) throw new Error(`no peer ${peer}`);
    return id;
  }
}

function words(isAllowed: boolean, stage: string | undefined, rule: string | null): string {
  return `${isAllowed ? 'allow' : 'deny'} ${stage} ${rule}`;
}

function expected(evaluator: Evaluator, crossing: Crossing): string {
  const { verdict, stage, rule } = evaluator.judge(crossing);
  return words(verdict === 'allow', stage, stage === 'default' ? null : rule.name);
}

/** TCP that opens a connection, a UDP datagram, ICMP of its type, anything else without payload. */
function bytesOf({ packet, sourcePort }: Packet): Uint8Array {
  const { source, destination, protocol, port } = packet;
  const payload = new Uint8Array(protocol === TCP ? 20 : 8);
  const view = new DataView(payload.buffer);
  if (ICMP_PROTOCOLS.includes(protocol)) payload[0] = port ?? 0;
  else if (port !== null) {
    view.setUint16(0, sourcePort);
    view.setUint16(2, port);
  }
  if (protocol === TCP) payload.set([5 << 4, 0x02, 0xff, 0xff], 12);
  const isV4 = source.version === 4;
  const header = new Uint8Array(isV4 ? 20 : 40);
  header[0] = isV4 ? 0x45 : 0x60;
  new DataView(header.buffer).setUint16(isV4 ? 2 : 4, payload.length + (isV4 ? 20 : 0));
  header[isV4 ? 9 : 6] = protocol;
  header.set(source.bytes, isV4 ? 12 : 8);
  header.set(destination.bytes, isV4 ? 16 : 24);
  return Uint8Array.of(...header, ...payload);
}

/** TCP and UDP have a port in every packet that begins a flow. */
const firstPacket = anyCrossing.filter(({ packet: { protocol, port } }) => port !== null || protocol > UDP);

/** Each case is a packet under a policy: `policies` times `packets` of them. Fails at the first difference. */
export function judgeAlike(
  policies: Runs,
  packets: number,
  ofCore: (policy: Policy) => Policy = (policy) => policy,
): number {
  const core = new JudgingCore();
  let cases = 0;
  fc.assert(
    fc.property(
      anyPolicy,
      fc.array(firstPacket, { minLength: packets, maxLength: packets }),
      (policy, crossings) => {
        core.setPolicy(ofCore(policy));
        const evaluator = new Evaluator(policy, OWN);
        for (const crossing of crossings) {
          cases++;
          const [want, got] = [expected(evaluator, crossing), core.judge(crossing)];
          if (want !== got) throw new Error(`${describe(crossing)}: evaluator ${want}, core ${got}`);
        }
      },
    ),
    policies,
  );
  return cases;
}

/** UDP between few ends, there and back, under one policy after the other. */
const datagram = fc
  .record({
    crossing: anyCrossing,
    isBack: fc.boolean(),
    sourcePort: fc.integer({ min: 1, max: 3 }),
    port: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ crossing, isBack, sourcePort, port }): Packet => {
    const { source, destination } = crossing.packet;
    const there = { ...crossing, packet: { source, destination, protocol: UDP, port }, sourcePort };
    if (!isBack) return there;
    return {
      leg: crossing.leg === 'in' ? 'out' : 'in',
      peer: crossing.peer,
      packet: { source: destination, destination: source, protocol: UDP, port: sourcePort },
      sourcePort: port,
    };
  });

const step = fc.oneof(
  { weight: 1, arbitrary: anyPolicy },
  { weight: 20, arbitrary: fc.tuple(datagram, fc.boolean()) },
);

/** `steps` datagrams and changes of the policy in any order. Each comes once or, as an answer would, back as well. */
export function passAlike(stories: Runs, steps: number): number {
  const story = fc.array(step, { minLength: steps, maxLength: steps });
  let cases = 0;
  fc.assert(
    fc.property(anyPolicy, story, (first, told) => {
      const core = new JudgingCore();
      const flows = new Flows();
      const change = (policy: Policy): void => {
        core.setPolicy(policy);
        flows.evaluator = new Evaluator(policy, OWN);
      };
      change(first);
      for (const event of told) {
        if (!Array.isArray(event)) {
          change(event as Policy);
          continue;
        }
        const [packet, isAnswered] = event as [Packet, boolean];
        for (const one of isAnswered ? [packet, answerTo(packet)] : [packet]) {
          cases++;
          const [want, got] = [flows.passes(one), core.passes(one)];
          if (want !== got) throw new Error(`${describe(one)}: it should ${want ? '' : 'not '}pass`);
        }
      }
    }),
    stories,
  );
  return cases;
}

function answerTo({ leg, peer, packet, sourcePort }: Packet): Packet {
  const { source, destination, protocol, port } = packet;
  return {
    leg: leg === 'in' ? 'out' : 'in',
    peer,
    packet: { source: destination, destination: source, protocol, port: sourcePort },
    sourcePort: port ?? 0,
  };
}

/** Flows as the words of docs/policy.md have them: a flow is who opened it, and each policy judges that anew. */
class Flows {
  evaluator: Evaluator | undefined;
  readonly #opened = new Map<string, Packet>();

  passes(packet: Packet): boolean {
    const key = flowOf(packet);
    const opened = this.#opened.get(key);
    if (opened !== undefined) return this.#allows(opened) && !this.#comesByAnotherWay(opened, packet);
    const isOurOwn = OWN.some((own) => compareIps(own, packet.packet.source) === 0);
    if ((packet.leg === 'in' && isOurOwn) || !this.#allows(packet)) return false;
    this.#opened.set(key, packet);
    return true;
  }

  /** An answer from the internet, by this host, to somebody whose internet is a site's. */
  #comesByAnotherWay(opened: Packet, { leg }: Packet): boolean {
    const subject = this.evaluator?.subjectOf(opened);
    const hasExit = subject?.kind === 'peer' && subject.peer.routeVia !== null;
    return (
      hasExit &&
      opened.leg === 'in' &&
      leg === 'out' &&
      this.evaluator?.isInternet(opened.packet.destination) === true
    );
  }

  #allows(packet: Packet): boolean {
    return this.evaluator?.judge(packet).verdict === 'allow';
  }
}

/** The same text for both directions: the peer's end, then ours. */
function flowOf({ leg, peer, packet, sourcePort }: Packet): string {
  const end = (address: IpAddress, port: number | null): string => `${renderIp(address)} ${port}`;
  const [source, destination] = [end(packet.source, sourcePort), end(packet.destination, packet.port)];
  return leg === 'in' ? `${peer} ${source} ${destination}` : `${peer} ${destination} ${source}`;
}

function describe({ leg, peer, packet }: Crossing): string {
  const { source, destination, protocol, port } = packet;
  return `${leg} ${peer}: ${renderIp(source)} → ${renderIp(destination)} ${protocol}/${port}`;
}
