// The networks that tests are played on. Hosts and wires are src/bench/topology.ts.

import { build, type Direct, type Host, type Topology } from '../../src/bench/topology.ts';

export { type Direct, direct, Host, Topology } from '../../src/bench/topology.ts';

export type Routed = Direct & { readonly internet: Host };

/**
 * Two hosts on networks of their own, and the router between them:
 * ```
 *  left ─ eth0 192.0.2.10/24 ───── .1 left │          │ right .1 ───── 198.51.100.10/24 eth0 ─ right
 *              2001:db8:1::10/64   ::1     │ internet │       ::1      2001:db8:2::10/64
 * ```
 */
export async function routed(mtu = 1500, names = { left: 'left', right: 'right' }): Promise<Routed> {
  return await build(async (topology) => {
    const left = await topology.host(names.left);
    const right = await topology.host(names.right);
    const internet = await topology.host('internet');
    await internet.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
    await attach(topology, internet, { host: left, v4: '192.0.2', v6: '2001:db8:1:' }, mtu);
    await attach(topology, internet, { host: right, v4: '198.51.100', v6: '2001:db8:2:' }, mtu);
    return { left, right, internet };
  });
}

/** A /24 and a /64 of the underlay, as `192.0.2` and `2001:db8:1:`. */
export type Site = { readonly host: Host; readonly v4: string; readonly v6: string };

/** Puts a host behind the router, on a network of its own: it is .10 there and the router .1. */
async function attach(
  topology: Topology,
  internet: Host,
  { host, v4, v6 }: Site,
  mtu: number,
): Promise<void> {
  await topology.connect(
    { host, device: 'eth0', addresses: [`${v4}.10/24`, `${v6}:10/64`] },
    { host: internet, device: host.name, addresses: [`${v4}.1/24`, `${v6}:1/64`] },
    mtu,
  );
  await host.ipBatch(`route add default via ${v4}.1`, `route add ::/0 via ${v6}:1`);
}

/** A further host behind the router of `net`: 203.0.113.10 and 2001:db8:3::10, or another `network` from 3 to 9. */
export async function addHost({ topology, internet }: Routed, name: string, network = 3): Promise<Host> {
  const host = await topology.host(name);
  const v4 = network === 3 ? '203.0.113' : `198.18.${network}`;
  await attach(topology, internet, { host, v4, v6: `2001:db8:${network}:` }, 1500);
  return host;
}
