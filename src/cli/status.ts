// `ringfence status [IFACE]`: what runs on this host, by peer name, as a table or as JSON.

import { setTimeout as delay } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { OFFLOAD_KEYS, OFFLOADS } from '../config/offloads.ts';
import { type Rate, ratesOf } from '../control/history.ts';
import { askStatus, listInterfaces, runDirectory } from '../control/node-socket.ts';
import { renderRotation } from '../control/rotation-text.ts';
import type {
  AccountStatus,
  HostPathStatus,
  NodeStatus,
  OffloadObstacle,
  PeerAccountStatus,
  PeerStatus,
  PolicyStatus,
} from '../control/target.ts';
import { renderBytes, renderHandshake, renderRate } from '../control/units.ts';
import { NodeError } from '../errors.ts';
import { renderHostPaths } from './host-path-text.ts';
import { alignColumns } from './table.ts';

/** Between two looks of `--watch`. */
const WATCH_MS = 1_000;
/** To the upper left corner, and what is below it away. */
const CLEAR = '\x1b[H\x1b[J';

export function registerStatus(program: Command): void {
  program
    .command('status')
    .summary('show running nodes, by peer name')
    .description('Shows the node on IFACE, or all nodes of this host.')
    .argument('[iface]', 'the interface of one node')
    .option('--json', 'print JSON: an object for IFACE, else a list (docs/status.schema.json)')
    .addOption(new Option('-w, --watch', 'go on, with rates, until Ctrl-C').conflicts('json'))
    .action(async (iface: string | undefined, options: { json?: boolean; watch?: boolean }) => {
      if (options.watch === true) return await watch(iface);
      const nodes = await findNodes(iface);
      const shown = options.json
        ? toJson(iface === undefined ? nodes : nodes[0])
        : nodes.map((node) => render(node)).join('\n');
      process.stdout.write(shown);
    });
}

/** Looks again and again; on a terminal always in the same place, as far as it reaches. Ends when no node runs any more. */
async function watch(iface: string | undefined): Promise<never> {
  let before: { readonly nodes: readonly NodeStatus[]; readonly atMs: number } | undefined;
  for (;;) {
    const nodes = await findNodes(iface);
    const atMs = performance.now();
    const seconds = before === undefined ? 0 : (atMs - before.atMs) / 1000;
    const shown = nodes.map((node) => {
      const former = before?.nodes.find((one) => one.interface.name === node.interface.name);
      return render(node, former === undefined ? new Map() : ratesOf(former, node, seconds));
    });
    const text = shown.join('\n');
    process.stdout.write(process.stdout.isTTY ? `${CLEAR}${fitted(text, process.stdout.rows)}` : `${text}\n`);
    before = { nodes, atMs };
    await delay(WATCH_MS);
  }
}

/** As many lines as a terminal has; the last says how many more there are. */
function fitted(text: string, rows: number): string {
  const lines = text.trimEnd().split('\n');
  if (lines.length < rows) return `${lines.join('\n')}\n`;
  const shown = lines.slice(0, Math.max(0, rows - 2));
  return `${shown.join('\n')}\n… and ${lines.length - shown.length} more lines\n`;
}

async function findNodes(iface: string | undefined): Promise<NodeStatus[]> {
  const directory = runDirectory();
  const names = iface === undefined ? listInterfaces(directory) : [iface];
  const answers = await Promise.all(names.map((name) => askStatus(directory, name)));
  const nodes = answers.filter((answer) => answer !== null);
  if (nodes.length > 0) return nodes;
  const what = iface === undefined ? 'no node runs here' : `no node runs on ${iface}`;
  throw new NodeError('ERR_NODE_NOT_RUNNING', `${what}: nothing answers in ${directory}`, {
    hint: 'start one with `ringfence run FILE`; RINGFENCE_RUN_DIR must be the same for both',
  });
}

function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** With rates, two columns more. */
function render(node: NodeStatus, rates?: ReadonlyMap<string, Rate>): string {
  const { interface: own, lane, peers } = node;
  const head = [
    `${own.name}  port ${own.listenPort}, MTU ${own.mtu}, ${own.addresses.join(', ') || 'no addresses of ours'}`,
    `  public key  ${own.publicKey ?? '(none)'}`,
    `  offloads    ${offloads(own.offloads)}`,
    ...(lane.restarts > 0 ? [`  lane        ${lane.state}, restarted ${lane.restarts} times`] : []),
    ...hostRules(node),
    ...underLoad(lane),
    `  policy      ${policy(node.policy)}`,
    ...exits(node.policy),
    ...namesLine(node),
    ...node.rotations.map((rotation) => `  rotation    ${renderRotation(rotation)}`),
    ...problems(node),
  ];
  if (peers.length === 0) return `${[...head, '  no peers'].join('\n')}\n`;
  const used = accounts(node.policy);
  const rateHeads = rates === undefined ? [] : ['IN', 'OUT'];
  const heads = ['PEER', 'ENDPOINT', 'HANDSHAKE', ...rateHeads, 'RECEIVED', 'SENT', 'ALLOWED'];
  const rows = [heads, ...peers.map((peer) => peerRow(peer, rates))];
  const tables = [rows, ...used].flatMap((table) => alignColumns(table).map((row) => `  ${row}`));
  return `${[...head, ...tables].join('\n')}\n`;
}

function peerRow(peer: PeerStatus, rates: ReadonlyMap<string, Rate> | undefined): string[] {
  const { received = 0, sent = 0 } = rates?.get(peer.publicKey) ?? {};
  return [
    peer.name,
    peer.endpoint ?? '-',
    renderHandshake(peer.latestHandshakeSeconds),
    ...(rates === undefined ? [] : [renderRate(received), renderRate(sent)]),
    renderBytes(BigInt(peer.rxBytes)),
    renderBytes(BigInt(peer.txBytes)),
    peer.allowedIps.join(', '),
  ];
}

/** Who switched an offload off, in few words. */
const OBSTACLES: Readonly<Record<OffloadObstacle, string>> = {
  config: 'the file has it off',
  environment: 'RINGFENCE_OFFLOADS',
  host: 'not on this host',
  eio: 'the host refused a train: EIO',
};

function offloads(states: NodeStatus['interface']['offloads']): string {
  return OFFLOADS.map((offload) => {
    const { obstacle } = states[offload];
    return `${OFFLOAD_KEYS[offload]} ${obstacle === null ? 'on' : `off (${OBSTACLES[obstacle]})`}`;
  }).join(', ');
}

/** What of the host's rules holds, and each that does not. */
function hostRules({ hostRules: rules }: NodeStatus): string[] {
  if (rules === null) return [];
  const restored = rules.restored === 0 ? '' : `, put back ${rules.restored} times`;
  const { backend, table } = rules;
  const title = backend === 'nft' ? `table inet ${table}` : `chains ${table} (${backend})`;
  const where = backend === 'none' ? 'none' : `${title}${restored}`;
  return [
    `  host rules  ${where}`,
    ...rules.notEnforced.map((sentence) => `  not enforced: ${sentence}`),
    ...hostPaths(rules.paths ?? []),
  ];
}

/** How many of them pass, and each that does not, or of which that is not known. */
function hostPaths(paths: readonly HostPathStatus[]): string[] {
  if (paths.length === 0) return [];
  const passing = paths.filter(({ effective }) => effective === 'yes');
  return [
    `  effective   ${passing.length} of ${paths.length} openings and paths, tried by packets`,
    ...renderHostPaths(paths).map((line) => `  ${line}`),
  ];
}

/** What peers and services have used, inside the tunnel, where there is a policy to count by. */
function accounts(status: PolicyStatus | null): string[][][] {
  if (status?.state !== 'enforced') return [];
  const heads = (what: string): string[] => [what, 'TO IT', 'FROM IT', 'FLOWS'];
  const peers = status.accounts.map((account) => [
    account.peer,
    renderBytes(BigInt(account.down.bytes)),
    renderBytes(BigInt(account.up.bytes)),
    flows(account),
    limits(account),
  ]);
  const services = status.services.map((account) => [
    account.service,
    renderBytes(BigInt(account.up.bytes)),
    renderBytes(BigInt(account.down.bytes)),
    flows(account),
  ]);
  return [
    ...(peers.length === 0 ? [] : [[[...heads('USED BY'), 'LIMITS'], ...peers]]),
    ...(services.length === 0 ? [] : [[heads('SERVICE'), ...services]]),
  ];
}

function flows({ up, down }: AccountStatus): string {
  return String(BigInt(up.flows) + BigInt(down.flows));
}

function limits({ rate, quota }: PeerAccountStatus): string {
  const rates = [
    ...(rate?.down ? [`${renderRate(rate.down)} to it`] : []),
    ...(rate?.up ? [`${renderRate(rate.up)} from it`] : []),
  ];
  if (quota === null) return rates.join(', ') || '-';
  const over = quota.over === 'deny' ? 'nothing passes' : `${renderRate(quota.over)} each way`;
  const used = `${renderBytes(BigInt(quota.usedBytes))} of ${renderBytes(BigInt(quota.bytes))} this ${quota.period}`;
  return [...rates, quota.isOver ? `${used}: ${over}` : used].join(', ');
}

function policy(status: PolicyStatus | null): string {
  if (status === null) return 'none: every peer may reach everything';
  if (status.state === 'restarting') return 'enforced once the lane runs again; nothing passes';
  const denied = status.denied.reduce((sum, { packets }) => sum + BigInt(packets), 0n);
  const full = status.evictedFlows === '0' ? '' : `, ${status.evictedFlows} gave way: the table is full`;
  return `${status.rules} rules, ${status.flows} flows${full}; ${denied} packets denied`;
}

/** Whose internet is somebody else's. */
function exits(status: PolicyStatus | null): string[] {
  if (status?.state !== 'enforced' || status.exits.length === 0) return [];
  const shown = status.exits.map(({ peer, users }) => `by ${peer} for ${users.join(', ')}`);
  return [`  internet    ${shown.join('; ')}`];
}

/** Handshakes pile up, and some or all have to show a cookie first. */
function underLoad({ asksCookiesOf }: NodeStatus['lane']): string[] {
  switch (asksCookiesOf) {
    case 'nobody':
      return [];
    case 'busy-sources':
      return ['  under load  sources of many handshakes must show a cookie'];
    case 'everyone':
      return ['  under load  every handshake must show a cookie'];
    default:
      return asksCookiesOf satisfies never;
  }
}

function namesLine({ names }: NodeStatus): string[] {
  if (names === null) return [];
  const asked = Object.entries(names.questions).filter(([, count]) => count !== '0');
  const questions = asked.map(([outcome, count]) => `${outcome} ${count}`).join(', ');
  return [
    `  names       below ${names.domain}, at ${names.addresses.join(', ')}; questions: ${questions || 'none yet'}`,
  ];
}

/** What went wrong since the start, where anything did. */
function problems({ drops, faults }: NodeStatus): string[] {
  const dropped = Object.entries(drops).filter(([, count]) => count !== '0');
  const line = (label: string, entries: readonly (readonly [string, string | number])[]): string[] =>
    entries.length === 0
      ? []
      : [`  ${label}${entries.map(([name, count]) => `${name} ${count}`).join(', ')}`];
  return [...line('dropped     ', dropped), ...line('faults      ', Object.entries(faults))];
}
