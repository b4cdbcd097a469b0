// What the host's rules depend on beside the policy, from the configuration and from the host.

import { networkInterfaces } from 'node:os';
import { type IpAddress, parseIp } from '../address/ip.ts';
import { hostPrefix, networkOf, parseInterface } from '../address/prefix.ts';
import type { NodeConfig } from '../config/schema.ts';
import { cgroupPaths, findCgroups } from '../firewall/cgroups.ts';
import type { Connected, HostFacts } from '../firewall/facts.ts';
import { type Compilation, compile } from '../policy/compile.ts';

/**
 * `resolved`: what the names of `firewall.process` stand for, as far as that is known. `former`: the facts from before, of
 * whose policy the parts that stay the same are not compiled again.
 */
export function hostFacts(
  config: NodeConfig,
  resolved: ReadonlyMap<string, readonly IpAddress[]> = new Map(),
  former: HostFacts | null = null,
): HostFacts {
  const { interface: own, peers, firewall } = config;
  return {
    interface: own.name,
    listenPort: own.listenPort,
    overlay: [
      ...own.addresses.map(networkOf),
      ...peers.flatMap(({ addresses }) => addresses.map(hostPrefix)),
    ],
    ownAddresses: own.addresses.map(({ address }) => address),
    peers: new Map(peers.map(({ name, addresses }) => [name, addresses])),
    sites: new Map((firewall?.policy.sites ?? []).map(({ peer, subnets }) => [peer, subnets])),
    local: localAddresses(own.name),
    connected: connectedNetworks(own.name),
    resolved,
    cgroups: findCgroups(firewall?.host == null ? [] : cgroupPaths(firewall.host)),
    mirrored: mirroredPolicy(firewall, former?.mirrored ?? null),
  };
}

function localAddresses(tunnel: string): IpAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses.flatMap(({ address }) => {
      const parsed = parseIp(address);
      return name !== tunnel && parsed.ok ? [parsed.value] : [];
    }),
  );
}

/** Every interface that is up has its networks here, but the loopback and the tunnel. */
function connectedNetworks(tunnel: string): Connected[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses.flatMap(({ internal, cidr }): Connected[] => {
      if (internal || name === tunnel || cidr === null) return [];
      const parsed = parseInterface(cidr);
      return parsed.ok ? [{ interface: name, prefix: networkOf(parsed.value) }] : [];
    }),
  );
}

function mirroredPolicy(firewall: NodeConfig['firewall'], former: Compilation | null): HostFacts['mirrored'] {
  if (firewall?.host?.mirrorsPolicy !== true) return null;
  return former?.model === firewall.policy ? former : compile(firewall.policy, former);
}
