// What on this host is in the way of an overlay, each with what to type. Looks, tries what is in force by packets that nobody hears
// of, and changes nothing that stays.

import type { HostPolicy } from '../policy/host.ts';
import { chooseBackend, presentRulesets } from './backend.ts';
import { type CommandResult, Commands } from './commands.ts';
import { type DroppingChain, detect, type HostState } from './detect.ts';
import type { HostFacts } from './facts.ts';
import { readSysctl } from './host-state.ts';
import { remedyFor } from './openings.ts';
import { ruleComment, tableName } from './render-nft.ts';
import { openingsOf } from './render-openings.ts';
import { SelfTest } from './self-test.ts';

export interface Finding {
  /** `problem`: something will not work. `note`: worth to know. */
  readonly kind: 'problem' | 'note';
  readonly what: string;
  /** What to type, or to write into the file; null where there is nothing to do. */
  readonly remedy: string | null;
}

/** `policy` and `facts` are those of a configuration; null: the host alone. */
export async function examineHost(policy: HostPolicy | null, facts: HostFacts | null): Promise<Finding[]> {
  const commands = new Commands();
  const version = await commands.try('nft', ['--version']);
  if (!version.ok) return await examineWithoutNft(commands, version, policy, facts);
  const listed = await commands.try('nft', ['list', 'chains']);
  if (!listed.ok) {
    const what = `nft cannot read the rules of this host: ${listed.stderr.split('\n')[0]}`;
    return [{ kind: 'problem', what, remedy: 'run as root, or with CAP_NET_ADMIN' }];
  }
  const state = await detect(
    commands,
    policy === null ? '' : tableName(policy.network),
    true,
    policy?.backend.startsWith('iptables'),
  );
  return [
    ...(await closedChains(commands, state, policy, facts)),
    ...managers(state, facts),
    ...kernel(policy, facts),
    ...(await exitRelay(commands, policy)),
    ...leftovers(listed.stdout, policy),
    ...(await closedPaths(commands, policy, facts)),
  ];
}

/** What does not pass although the rules are in force that let it pass, each with who drops it. */
async function closedPaths(
  commands: Commands,
  policy: HostPolicy | null,
  facts: HostFacts | null,
): Promise<Finding[]> {
  if (policy === null || facts === null) return [];
  const present = await presentRulesets(commands, policy.network, '');
  if (present.length === 0) return [];
  const paths = await new SelfTest(commands, policy.network).run(policy, facts);
  return paths.flatMap(({ name, effective, why, remedy }): Finding[] => {
    if (effective === 'yes') return [];
    const [kind, what] =
      effective === 'no' ? (['problem', 'not effective'] as const) : (['note', 'not known'] as const);
    return [{ kind, what: `${what}: ${name}: ${why}`, remedy }];
  });
}

/** iptables does what nft would. */
async function examineWithoutNft(
  commands: Commands,
  { isMissing, stderr }: CommandResult,
  policy: HostPolicy | null,
  facts: HostFacts | null,
): Promise<Finding[]> {
  const why = isMissing ? 'nft is not installed' : `nft does not work: ${stderr.split('\n')[0]}`;
  const remedy = 'apt-get install nftables';
  const network = policy?.network ?? '';
  const kind = await chooseBackend(commands, { backend: 'iptables', network }).catch(() => null);
  if (kind === null || policy?.backend === 'nft') {
    return [{ kind: 'problem', what: `${why}: no rules of the host can be put in force`, remedy }];
  }
  const state = await detect(commands, '', false);
  return [
    { kind: 'note', what: `${why}: ${kind} applies the rules of the host`, remedy },
    ...(await closedChains(commands, state, policy, facts)),
    ...kernel(policy, facts),
  ];
}

/** A chain that has our openings already is open. */
async function closedChains(
  commands: Commands,
  { dropping, managers: found }: HostState,
  policy: HostPolicy | null,
  facts: HostFacts | null,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const chain of dropping) {
    const where = `${chain.family} ${chain.table} ${chain.chain} (${ownerOf(chain, found)})`;
    const what = `${where} drops what it does not accept at ${chain.hook}`;
    if (policy === null || facts === null) {
      findings.push({ kind: 'note', what, remedy: null });
      continue;
    }
    if (await hasOpening(commands, chain, policy.network)) continue;
    const opensIt =
      policy.stance === 'open' && chain.manager !== 'firewalld' && chain.manager !== 'docker-nft';
    findings.push(
      opensIt
        ? { kind: 'note', what: `${what}: \`ringfence run\` opens it for the overlay`, remedy: null }
        : {
            kind: 'problem',
            what,
            remedy: ufwLines(chain, facts, found) ?? remedyFor(chain, openingsOf(policy, facts)),
          },
    );
  }
  return findings;
}

function ownerOf({ manager }: DroppingChain, found: HostState['managers']): string {
  if (!manager.startsWith('iptables')) return manager;
  const names = found.filter((name) => name === 'ufw' || name === 'docker');
  return names.length === 0 ? manager : `${manager}, ${names.join(' and ')}`;
}

/** UFW would lose a rule of somebody else's at its next reload, so it is told in its own words. */
function ufwLines(
  chain: DroppingChain,
  { interface: name }: HostFacts,
  found: HostState['managers'],
): string | null {
  if (!found.includes('ufw') || !chain.manager.startsWith('iptables')) return null;
  return chain.hook === 'input' ? `ufw allow in on ${name}` : `ufw route allow in on ${name}`;
}

async function hasOpening(commands: Commands, chain: DroppingChain, network: string): Promise<boolean> {
  if (chain.manager === 'nft' || chain.manager === 'iptables-nft') {
    const { stdout } = await commands.try('nft', ['list', 'chain', chain.family, chain.table, chain.chain]);
    return stdout.includes(ruleComment(network)) || stdout.includes(`RF-${network}-`);
  }
  if (chain.manager !== 'iptables-legacy') return false;
  const program = chain.family === 'ip' ? 'iptables-legacy' : 'ip6tables-legacy';
  return (await commands.try(program, ['-S', chain.chain])).stdout.includes(`RF-${network}-`);
}

function managers({ managers: found, blocksContainers }: HostState, facts: HostFacts | null): Finding[] {
  const tunnel = facts?.interface ?? 'IFACE';
  return [
    ...(blocksContainers
      ? [
          {
            kind: 'problem' as const,
            what: 'Docker drops packets for containers from all but their own bridge before any accept: peers reach published ports, not container addresses',
            remedy: `docker network create -o com.docker.network.bridge.trusted_host_interfaces=${tunnel} NAME`,
          },
        ]
      : []),
    ...(found.includes('kubernetes')
      ? [
          {
            kind: 'note' as const,
            what: 'Kubernetes has rules here: none of its chains is touched',
            remedy: null,
          },
        ]
      : []),
  ];
}

function kernel(policy: HostPolicy | null, facts: HostFacts | null): Finding[] {
  const findings: Finding[] = [];
  if (policy?.forwarding === 'off' && readSysctl('net/ipv4/ip_forward') === '0') {
    findings.push({
      kind: 'problem',
      what: 'IP forwarding is off, and firewall.host.forwarding keeps it so: peers reach this host only',
      remedy: 'sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
    });
  }
  const tunnel = facts?.interface;
  // The greater of `all` and the interface's own counts.
  const strictest = Math.max(
    ...['all', ...(tunnel === undefined ? [] : [tunnel])].map((name) =>
      Number(readSysctl(`net/ipv4/conf/${name}/rp_filter`) ?? 0),
    ),
  );
  if (strictest === 1) {
    findings.push({
      kind: 'note',
      what: 'reverse path filtering is strict (rp_filter=1): packets that come by another way than their answers go are dropped without a trace',
      remedy: 'sysctl -w net.ipv4.conf.all.rp_filter=2',
    });
  }
  return findings;
}

/** A site that is to use the internet of this host, which has none, or hands out addresses that nobody there knows. */
async function exitRelay(commands: Commands, policy: HostPolicy | null): Promise<Finding[]> {
  if (policy === null || policy.exitUsers.length === 0) return [];
  const versions = new Set(policy.exitUsers.map(({ address }) => address.version));
  const findings: Finding[] = [];
  for (const version of versions) {
    const { stdout } = await commands.try('ip', [`-${version}`, 'route', 'show', 'default']);
    if (stdout.trim() !== '') continue;
    const what = `a site is to use the internet of this host, which has no default route in IPv${version}`;
    findings.push({ kind: 'problem', what, remedy: null });
  }
  if (policy.backend === 'off' || policy.backend === 'print') {
    const what = `a site is to use the internet of this host, and firewall.host.backend is ${policy.backend}: nothing masquerades it`;
    findings.push({ kind: 'problem', what, remedy: 'write backend: auto into firewall.host' });
  }
  return findings;
}

/** Tables of ours that belong to another network: of a node that crashed, or of another that runs. */
function leftovers(tables: string, policy: HostPolicy | null): Finding[] {
  const names = [...tables.matchAll(/^table inet rf_(\w+)$/gm)].map(([, name = '']) => name);
  return names
    .filter((name) => name !== policy?.network)
    .map((name) => ({
      kind: 'note' as const,
      what: `network ${name} has rules here, too`,
      remedy: `ringfence firewall remove ${name}, unless a node of it runs`,
    }));
}
