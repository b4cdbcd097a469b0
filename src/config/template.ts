// The file that `ringfence init` writes: every key with what it means, ready to run, peers as comments to uncomment.

import { type IpInterface, renderInterface } from '../address/prefix.ts';
import { renderPublicKey } from './key.ts';

export interface TemplateValues {
  /** How the reader will call the file, in the comments. */
  readonly fileName: string;
  readonly interfaceName: string;
  /** Relative to the folder of the file. */
  readonly keyFileName: string;
  readonly publicKey: Uint8Array;
  readonly addresses: readonly IpInterface[];
  readonly listenPort: number;
}

/** Pure text; `loadConfig` takes it as it is. */
export function renderTemplate(values: TemplateValues): string {
  const addresses = values.addresses.map((address) => JSON.stringify(renderInterface(address)));
  return `# One ringfence node.
#
#   ringfence check ${values.fileName}     says what is wrong with this file, line by line
#   ringfence run ${values.fileName}       brings the node up
#
# The public key of this node, for the files of its peers:
#   ${renderPublicKey(values.publicKey)}

interface:
  # The tunnel interface: 1 to 15 letters, digits or any of _ = + . -
  name: ${yamlText(values.interfaceName)}

  # The secret of this node, of mode 0600. Names of files count from the folder of this one.
  private_key_file: ${yamlText(values.keyFileName)}

  # The addresses of this node inside the overlay, with the prefix length of their network. Every node has its own.
  addresses: [${addresses.join(', ')}]

  # The UDP port that peers send to. 0: any free port, for a node that only calls others.
  listen_port: ${values.listenPort}

  # The longest packet inside the tunnel. auto: that of the route to the peers, less 80.
  mtu: auto

  # Where the routes to peers go: auto, off, or the number of a table of yours.
  # table: auto

  # What the host may join or split for this node, each where it can. Switch one off where a driver makes trouble.
  # offloads: {udp_gso: true, udp_gro: true, tun_tcp: true, tun_udp: true}

peers:
  # alice:
  #   # What \`ringfence pubkey\` prints of alice's private key.
  #   public_key: 6Zk…=
  #
  #   # A second key that only alice and this node have (\`ringfence genpsk\`), of mode 0600. Optional.
  #   preshared_key_file: alice.psk
  #
  #   # The addresses of alice inside the overlay.
  #   addresses: [10.9.0.2, "fd09::2"]
  #
  #   # Networks behind alice; 0.0.0.0/0 and "::/0" send it all that no other route has. Optional.
  #   routes: [192.168.7.0/24]
  #
  #   # The metric of the routes to alice. Optional.
  #   metric: 100
  #
  #   # Where alice is reached, the best first. Without it alice calls us.
  #   endpoints: [vpn.example.org:51820]
  #
  #   # An empty message after so many seconds of silence keeps a NAT on the way open. Optional.
  #   keepalive: 25

# Metrics for Prometheus: an address of this host, best a loopback or overlay one, or the path of a socket. Optional.
# metrics:
#   listen: 127.0.0.1:9586
#   hosts: [metrics.example.org]

# What is logged: silent, error, warn, info or debug. Optional.
# logging:
#   level: info
`;
}

/** Plain where YAML cannot take it for a number, a boolean or anything else. */
function yamlText(text: string): string {
  return /^[a-z]+[0-9]+(\.key)?$/.test(text) ? text : JSON.stringify(text);
}
