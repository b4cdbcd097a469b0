// `ringfence check FILE`: a configuration and its key files are fine, or everything that is wrong with them.

import type { Command } from 'commander';
import { renderEndpoint } from '../address/endpoint.ts';
import { renderIp } from '../address/ip.ts';
import { renderInterface, renderPrefix } from '../address/prefix.ts';
import { renderPublicKey } from '../config/key.ts';
import { loadConfig } from '../config/load.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import { ConfigError, exitCodeOf } from '../errors.ts';
import { alignColumns } from './table.ts';

/** The summary is a look, not a listing. */
const SHOWN_PEERS = 20;

export function registerCheck(program: Command): void {
  program
    .command('check')
    .summary('say what is wrong with a configuration')
    .description('Judges FILE and its key files, and starts nothing. Exits with 2 if anything is wrong.')
    .argument('<file>', 'the configuration, such as ringfence.yaml')
    .option('--json', 'print JSON')
    .action((file: string, options: { json?: boolean }) => {
      process.stdout.write(options.json ? checkAsJson(file) : renderSummary(loadConfig(file)));
    });
}

/** Problems are a result here, not a failure to print. */
export function checkAsJson(file: string): string {
  let result: unknown;
  try {
    result = toJson(loadConfig(file));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const problems = error.problems.map(({ code, message, hint, place }) => ({
      ...place,
      code,
      message,
      hint,
    }));
    result = { file, fine: false, problems };
    process.exitCode = exitCodeOf(error);
  }
  return `${JSON.stringify(result, null, 2)}\n`;
}

function renderSummary(config: NodeConfig): string {
  const { name, addresses, listenPort, mtu, publicKey } = config.interface;
  const port = listenPort === 0 ? 'any free port' : `UDP port ${listenPort}`;
  const lines = [
    `${config.file}: fine`,
    `interface ${name}: ${addresses.map(renderInterface).join(', ')}, ${port}, MTU ${mtu}`,
    `public key ${renderPublicKey(publicKey)}`,
    ...peerTable(config.peers),
  ];
  return `${lines.join('\n')}\n`;
}

function peerTable(peers: readonly PeerConfig[]): string[] {
  if (peers.length === 0) return ['no peers'];
  const row = (peer: PeerConfig): string[] => [
    peer.name,
    peer.addresses.map(renderIp).join(', ') || '-',
    peer.routes.map(renderPrefix).join(', ') || '-',
    peer.endpoints.map(renderEndpoint).join(', ') || '-',
    peer.keepaliveSeconds === 0 ? 'off' : `${peer.keepaliveSeconds} s`,
    peer.presharedKeyFile === null ? '-' : 'yes',
  ];
  const heading = ['PEER', 'ADDRESSES', 'ROUTES', 'ENDPOINT', 'KEEPALIVE', 'PRESHARED KEY'];
  const lines = alignColumns([heading, ...peers.slice(0, SHOWN_PEERS).map(row)]);
  const rest = peers.length - SHOWN_PEERS;
  return rest > 0 ? [...lines, `… and ${rest} more peers`] : lines;
}

function toJson({ file, interface: own, peers }: NodeConfig): unknown {
  return {
    file,
    fine: true,
    interface: {
      name: own.name,
      publicKey: renderPublicKey(own.publicKey),
      addresses: own.addresses.map(renderInterface),
      listenPort: own.listenPort,
      mtu: own.mtu,
    },
    peers: peers.map((peer) => ({
      name: peer.name,
      publicKey: renderPublicKey(peer.publicKey),
      hasPresharedKey: peer.presharedKeyFile !== null,
      addresses: peer.addresses.map(renderIp),
      routes: peer.routes.map(renderPrefix),
      endpoints: peer.endpoints.map(renderEndpoint),
      keepaliveSeconds: peer.keepaliveSeconds,
    })),
  };
}
