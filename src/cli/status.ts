// `ringfence status [IFACE]`: what runs on this host, by peer name, as a table or as JSON.

import type { Command } from 'commander';
import { OFFLOAD_KEYS, OFFLOADS } from '../config/offloads.ts';
import { askStatus, listInterfaces, runDirectory } from '../control/node-socket.ts';
import type { NodeStatus, OffloadObstacle, PeerStatus } from '../control/target.ts';
import { NodeError } from '../errors.ts';
import { alignColumns } from './table.ts';

/** As WireGuard counts: older than Reject-After-Time, a handshake keeps no session alive. */
const SESSION_SECONDS = 180;

export function registerStatus(program: Command): void {
  program
    .command('status')
    .summary('show running nodes, by peer name')
    .description('Shows the node on IFACE, or all nodes of this host.')
    .argument('[iface]', 'the interface of one node')
    .option('--json', 'print JSON: an object for IFACE, else a list')
    .action(async (iface: string | undefined, options: { json?: boolean }) => {
      const nodes = await findNodes(iface);
      const shown = options.json
        ? toJson(iface === undefined ? nodes : nodes[0])
        : nodes.map(render).join('\n');
      process.stdout.write(shown);
    });
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

function render(node: NodeStatus): string {
  const { interface: own, lane, peers } = node;
  const head = [
    `${own.name}  port ${own.listenPort}, MTU ${own.mtu}, ${own.addresses.join(', ') || 'no addresses of ours'}`,
    `  public key  ${own.publicKey ?? '(none)'}`,
    `  offloads    ${offloads(own.offloads)}`,
    ...(lane.restarts > 0 ? [`  lane        ${lane.state}, restarted ${lane.restarts} times`] : []),
    ...hostRules(node),
    ...underLoad(lane),
    ...problems(node),
  ];
  if (peers.length === 0) return `${[...head, '  no peers'].join('\n')}\n`;
  const rows = [['PEER', 'ENDPOINT', 'HANDSHAKE', 'RECEIVED', 'SENT', 'ALLOWED'], ...peers.map(peerRow)];
  return `${[...head, ...alignColumns(rows).map((row) => `  ${row}`)].join('\n')}\n`;
}

function peerRow(peer: PeerStatus): string[] {
  return [
    peer.name,
    peer.endpoint ?? '-',
    handshakeAge(peer.latestHandshakeSeconds),
    bytes(BigInt(peer.rxBytes)),
    bytes(BigInt(peer.txBytes)),
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
  const where = rules.backend === 'nft' ? `table inet ${rules.table}${restored}` : 'none';
  return [`  host rules  ${where}`, ...rules.notEnforced.map((sentence) => `  not enforced: ${sentence}`)];
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

/** What went wrong since the start, where anything did. */
function problems({ drops, faults }: NodeStatus): string[] {
  const dropped = Object.entries(drops).filter(([, count]) => count !== '0');
  const line = (label: string, entries: readonly (readonly [string, string | number])[]): string[] =>
    entries.length === 0
      ? []
      : [`  ${label}${entries.map(([name, count]) => `${name} ${count}`).join(', ')}`];
  return [...line('dropped     ', dropped), ...line('faults      ', Object.entries(faults))];
}

function handshakeAge(seconds: number | null): string {
  if (seconds === null) return 'never';
  const age = Math.max(0, Math.floor(Date.now() / 1000) - seconds);
  if (age < SESSION_SECONDS) return `${age} s ago`;
  if (age < 7_200) return `${Math.floor(age / 60)} min ago`;
  return `${Math.floor(age / 3_600)} h ago`;
}

function bytes(count: bigint): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = Number(count);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}
