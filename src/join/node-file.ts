// The configuration of a node that has joined: itself, and whoever invited it. Pure text; `loadConfig` takes it as it is.

import type { Endpoint } from '../address/endpoint.ts';
import { renderEndpoint } from '../address/endpoint.ts';
import { renderIp } from '../address/ip.ts';
import { networkOf, renderInterface, renderPrefix } from '../address/prefix.ts';
import { renderPublicKey } from '../config/key.ts';
import type { Invite } from './invite-file.ts';

export interface JoinedNode {
  readonly invite: Invite;
  readonly interfaceName: string;
  /** Relative to the folder of the file. */
  readonly keyFileName: string;
  readonly presharedKeyFileName: string;
  /** Where the inviting node was found. */
  readonly endpoint: Endpoint;
}

export function renderNodeFile({ invite, endpoint, ...own }: JoinedNode): string {
  const { node } = invite;
  const networks = new Set(invite.addresses.map((address) => renderPrefix(networkOf(address))));
  const list = (texts: Iterable<string>): string =>
    `[${[...texts].map((text) => JSON.stringify(text)).join(', ')}]`;
  return `# The node ${invite.name}, which ${node.name} has invited.
#
#   ringfence up FILE       brings it up; ringfence status shows how it is
#   ringfence check FILE    says what is wrong with this file, line by line

interface:
  name: ${JSON.stringify(own.interfaceName)}
  private_key_file: ${JSON.stringify(own.keyFileName)}
  addresses: ${list(invite.addresses.map(renderInterface))}

peers:
  ${JSON.stringify(node.name)}:
    public_key: ${renderPublicKey(node.publicKey)}
    preshared_key_file: ${JSON.stringify(own.presharedKeyFileName)}
    addresses: ${list(node.addresses.map(({ address }) => renderIp(address)))}
    # The whole network: other members are reached through ${node.name}, as far as it forwards.
    routes: ${list(networks)}
    endpoints: ${list([renderEndpoint(endpoint)])}
    # Keeps a NAT on the way open, so that ${node.name} can call, too.
    keepalive: 25
`;
}
