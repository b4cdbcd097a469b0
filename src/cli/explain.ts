// `ringfence explain FILE FROM TO PROTO/PORT`: whether a flow passes, and the row of the policy that says so. With `--live PEER`
// it shows what a running node decides on the packets of a peer.

import { type Command, Option } from 'commander';
import { renderIp } from '../address/ip.ts';
import {
  ICMP,
  ICMPV6,
  MOST_PORT,
  parseTraffic,
  renderTraffic,
  TCP,
  type Traffic,
  UDP,
} from '../address/traffic.ts';
import { quote } from '../config/quote.ts';
import { UsageError } from '../errors.ts';
import type { Stage } from '../policy/compiled.ts';
import type { FlowStart, Subject } from '../policy/evaluate.ts';
import type { Policy, Quota, Rule } from '../policy/model.ts';
import { type End, type Path, pathOf, type Step } from '../policy/path.ts';
import { durationOption } from './duration-option.ts';
import { openPolicy, readEnd } from './policy-file.ts';
import { alignColumns } from './table.ts';

interface ExplainOptions {
  readonly trace?: boolean;
  readonly json?: boolean;
}

interface CommandOptions extends ExplainOptions {
  readonly live?: string;
  /** In seconds. */
  readonly for: number;
  readonly interface?: string;
}

const FOLLOW_SECONDS = 10;

export function registerExplain(program: Command): void {
  program
    .command('explain')
    .summary('say whether the policy lets a flow pass, and by which row')
    .description(
      'Judges the first packet of a flow at each tunnel it crosses: in from a peer, out to a peer. Both must allow it; the replies then pass with it. Exits with 0 if it is allowed, with 1 if it is denied.\n' +
        'With --live PEER and without arguments it follows real packets of that peer through the running node.',
    )
    .argument('[file]', 'the configuration, such as ringfence.yaml')
    .argument('[from]', 'who opens the flow: a peer, site:NAME, self, or an address')
    .argument('[to]', 'where to: an address, a service, a peer, site:NAME, self, or internet')
    .argument('[traffic]', 'such as tcp/443, udp/53, icmp (an echo request), icmp/echo-reply, gre or 47')
    .option('--trace', 'print each stage that was considered')
    .addOption(new Option('--live <peer>', 'show the packets of this peer as they come').conflicts('trace'))
    .addOption(
      new Option('--for <time>', 'with --live: how long, such as 30s, 5m or 1h')
        .argParser(durationOption(1))
        .default(FOLLOW_SECONDS, `${FOLLOW_SECONDS}s`),
    )
    .option('--interface <iface>', 'with --live: the interface of the node, where several run')
    .option('--json', 'print JSON; with --live an object for each packet, then one with the counts')
    .action(async (...args: readonly unknown[]) => {
      const options = args.at(-2) as CommandOptions;
      const given = args.slice(0, 4).filter((arg) => typeof arg === 'string');
      if (options.live !== undefined) return await follow(options.live, given, options);
      const [file, from, to, traffic] = given;
      if (file === undefined || from === undefined || to === undefined || traffic === undefined) {
        throw new UsageError('ERR_USAGE', 'it takes FILE FROM TO TRAFFIC, or --live PEER', {
          hint: 'such as: ringfence explain ringfence.yaml bob 10.9.0.22 tcp/443',
        });
      }
      const { text, isAllowed } = explain(file, from, to, traffic, options);
      process.stdout.write(text);
      if (!isAllowed) process.exitCode = 1;
    });
}

async function follow(peer: string, rest: readonly string[], options: CommandOptions): Promise<void> {
  if (rest.length > 0) {
    throw new UsageError('ERR_USAGE', `--live takes no ${quote(rest.join(' '))}: it shows what comes`, {
      hint: `ringfence explain --live ${peer}`,
    });
  }
  const { explainLive } = await import('./explain-live.ts');
  await explainLive(peer, {
    seconds: options.for,
    interface: options.interface,
    json: options.json === true,
  });
}

/** What the command prints. Throws UsageError for a question that means nothing, ConfigError for a wrong file. */
export function explain(
  file: string,
  from: string,
  to: string,
  traffic: string,
  options: ExplainOptions,
): { readonly text: string; readonly isAllowed: boolean } {
  const { policy, evaluator } = openPolicy(file);
  const [source, destination] = [readEnd(policy, from), readEnd(policy, to)];
  const packets = packetsOf(source, destination, traffic);
  const paths = packets.map((packet) => pathOf(evaluator, source, packet));
  if (paths.every(({ steps }) => steps.length === 0)) {
    throw new UsageError(
      'ERR_USAGE',
      `nothing from ${source.name} to ${destination.name} goes through a tunnel`,
      {
        hint: 'the policy judges what comes from a peer or goes to one',
      },
    );
  }
  const isAllowed = paths.every(({ verdict }) => verdict === 'allow');
  const judged = paths.filter(({ steps }) => steps.length > 0);
  const told = judged.map((path) => ({ path, quotas: quotasOn(policy, path) }));
  const text = options.json
    ? JSON.stringify({ allowed: isAllowed, paths: told.map(toJson) }, null, 2)
    : told.map((one) => render(source, destination, one, options.trace === true)).join('\n');
  return { text: `${text}\n`, isAllowed };
}

/** One packet for each pair of addresses of one version. */
function packetsOf(from: End, to: End, text: string): FlowStart[] {
  const packets = [4, 6].flatMap((version) => {
    const source = from.addresses.find((address) => address.version === version);
    if (source === undefined) return [];
    return to.addresses
      .filter((address) => address.version === version)
      .flatMap((destination) => startsOf(text, version).map((start) => ({ source, destination, ...start })));
  });
  if (packets.length > 0) return packets;
  throw new UsageError('ERR_USAGE', `${from.name} and ${to.name} have no version of IP in common`, {
    hint: 'give both an IPv4 or both an IPv6 address; icmp is of both, icmpv6 of one',
  });
}

/** What the text means in a version of IP: one port, or one type. */
function startsOf(text: string, version: number): Pick<FlowStart, 'protocol' | 'port'>[] {
  const parsed = parseTraffic(text === 'icmp' || text === 'icmpv6' ? `${text}/echo-request` : text);
  if (!parsed.ok) {
    throw new UsageError('ERR_USAGE', `${quote(text)} is no traffic: ${parsed.problem}`, {
      hint: 'write it as in a row of the policy: tcp/443, icmp/echo-request, 47',
    });
  }
  const isOfVersion = ({ protocol }: Traffic): boolean => protocol !== (version === 4 ? ICMPV6 : ICMP);
  return parsed.value.filter(isOfVersion).map(({ protocol, first, last }) => {
    const isWhole = first === 0 && last === MOST_PORT;
    if (first !== last && (!isWhole || protocol === TCP || protocol === UDP)) {
      throw new UsageError('ERR_USAGE', `${quote(text)} is more than one port`, {
        hint: 'ask about one, as in tcp/443; `ringfence policy matrix FILE` shows all',
      });
    }
    return { protocol, port: isWhole ? null : first };
  });
}

/** A path, and what may yet stop it: a file does not say how much was used. */
interface Told {
  readonly path: Path;
  readonly quotas: readonly OnTheWay[];
}

interface OnTheWay {
  readonly peer: string;
  readonly quota: Quota;
}

/** Of the peers through whose tunnels it goes, those that have one. */
function quotasOn({ peers, profiles }: Policy, { verdict, steps }: Path): OnTheWay[] {
  if (verdict === 'deny') return [];
  return [...new Set(steps.map(({ crossing }) => crossing.peer))].flatMap((name) => {
    const peer = peers.find((one) => one.name === name);
    const quota = profiles.find(({ id }) => id === peer?.profile)?.quota ?? null;
    return quota === null ? [] : [{ peer: name, quota }];
  });
}

function render(from: End, to: End, { path, quotas }: Told, hasTrace: boolean): string {
  const { packet, verdict, steps } = path;
  const { source, destination, protocol, port } = packet;
  const traffic = renderTraffic({ protocol, first: port ?? 0, last: port ?? MOST_PORT });
  const ends = [named(from.name, renderIp(source)), named(to.name, renderIp(destination))].join(' to ');
  const lines = [
    ...steps.flatMap((step) => renderStep(step, hasTrace)),
    ...quotas.map(
      ({ peer, quota }) =>
        `  unless ${peer} is over its quota, ${renderRule(quota)}: the file does not say; ringfence status does`,
    ),
  ];
  return [`${ends}, ${traffic}: ${verdict === 'allow' ? 'allowed' : 'denied'}`, ...lines].join('\n');
}

function renderStep({ crossing, judgement, trace }: Step, hasTrace: boolean): string[] {
  const { verdict, stage, rule, subject } = judgement;
  const way = crossing.leg === 'in' ? 'in from' : 'out to';
  const head = `  ${way} ${crossing.peer}, as ${renderSubject(subject)}: ${verdict} (${stage}) by ${renderRule(rule)}`;
  if (!hasTrace) return [head];
  const rows = trace.map((entry) => [
    `    ${entry.stage}`,
    entry.rule === null ? PASSED[entry.stage] : `${verdict}: ${renderRule(entry.rule)}`,
  ]);
  return [head, ...alignColumns(rows)];
}

/** What it means that a stage did not decide. */
const PASSED: Readonly<Record<Stage, string>> = {
  deny: 'no row of deny fits',
  isolation: 'no strict network divides them',
  grant: 'no row grants it',
  network: 'no network in common, and the profile reaches no peers',
  internet: 'it is not the internet, or the profile does not have it',
  default: '',
};

function renderSubject(subject: Subject): string {
  switch (subject.kind) {
    case 'peer':
      return `peer ${subject.peer.name}`;
    case 'site':
      return `site ${subject.site.peer}`;
    case 'self':
      return 'this node';
    case 'outside':
      return 'somebody outside';
    default:
      return subject satisfies never;
  }
}

/** The place as every message has it, to be found by a click. */
function renderRule({ name, place }: Rule): string {
  return `${name}, ${place.file}:${place.line}:${place.column}`;
}

function named(name: string, address: string): string {
  return name === address ? address : `${name} (${address})`;
}

function toJson({ path: { packet, verdict, steps }, quotas }: Told): unknown {
  return {
    source: renderIp(packet.source),
    destination: renderIp(packet.destination),
    protocol: packet.protocol,
    port: packet.port,
    verdict,
    legs: steps.map(({ crossing, judgement, trace }) => ({
      leg: crossing.leg,
      peer: crossing.peer,
      subject: renderSubject(judgement.subject),
      verdict: judgement.verdict,
      stage: judgement.stage,
      rule: ruleToJson(judgement.rule),
      trace: trace.map(({ stage, rule }) => ({ stage, rule: rule && ruleToJson(rule) })),
    })),
    quotas: quotas.map(({ peer, quota }) => ({ peer, rule: ruleToJson(quota) })),
  };
}

function ruleToJson({ name, place }: Rule): unknown {
  const { file, line, column } = place;
  return { name, file, line, column };
}
