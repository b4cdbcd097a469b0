// The guide, page after page, as somebody who follows it.

import { test } from 'vitest';
import { Guide } from '../support/guide.ts';
import { WEB_SERVER, walkFromTheFirstNode } from '../support/guide-hosts.ts';
import { LONG_WALK } from '../support/guide-walks.ts';
import { addHost, type Host, type Routed, routed, type Topology } from '../support/topology.ts';
import { NODE } from '../support/traffic.ts';

test('every page from the first node to a recovery, on the same hosts', () =>
  walkFromTheFirstNode(LONG_WALK));

const OFFICE = `[Interface]
PrivateKey = +NUOTuEI/hbp65nE/dUiiZ5OAgLXnXnfNeXrvt0UyEs=
ListenPort = 51820
Address = 10.8.0.1/24
[Peer]
PublicKey = QrO4SksMnngJwrgaxeFE2RbrftV3IdGLMkJEdeutyhc=
AllowedIPs = 10.8.0.2/32
`;

test('docs/guide/wg-quick.md', async () => {
  await using net = await routed(1500, { left: 'office', right: 'laptop' });
  await using guide = new Guide({ office: net.left, laptop: net.right });
  await guide.prepare('office', `umask 077; printf '%s' '${OFFICE}' >wg9.conf && ringfence up ./wg9.conf`);
  await guide.walk('docs/guide/wg-quick.md');
});

test('docs/guide/sites.md', async () => {
  await using net = await routed(1500, { left: 'office', right: 'branch' });
  const [files, printer] = await Promise.all([
    behind(net.topology, net.left, 'files', '192.168.7'),
    behind(net.topology, net.right, 'printer', '192.168.8'),
  ]);
  await using guide = new Guide({ office: net.left, branch: net.right, files, printer });
  await serve(files);
  await guide.walk('docs/guide/sites.md');
});

test('docs/guide/exit.md', async () => {
  await using net = await routed(1500, { left: 'laptop', right: 'router' });
  const home = await behind(net.topology, net.right, 'home', '192.168.7', 10);
  const web = await webServer(net);
  await net.right.sysctl({ 'net.ipv4.ip_forward': 1 });
  await net.right.exec('nft', ['-f', '-'], { input: ROUTER });
  await using guide = new Guide({ laptop: net.left, home });
  await guide.prepare(
    'laptop',
    `printf '%s\n' '${net.right.v4} home.example.org' '${web.v4} web.example.org' >>/etc/hosts`,
  );
  await serve(net.right);
  await guide.walk('docs/guide/exit.md');
});

test('docs/guide/exit-by-site.md', async () => {
  await using net = await routed(1500, { left: 'hub', right: 'branch' });
  const [laptop, web] = await Promise.all([addHost(net, 'laptop'), webServer(net)]);
  await using guide = new Guide({ hub: net.left, branch: net.right, laptop });
  await guide.prepare('laptop', `echo '${web.v4} web.example.org' >>/etc/hosts`);
  await guide.walk('docs/guide/exit-by-site.md');
});

/** At an address of the internet: those of the other hosts are for documentation, which a policy knows. */
async function webServer({ topology, internet }: Routed): Promise<Host> {
  const web = await topology.host('web');
  await topology.connect(
    { host: web, device: 'eth0', addresses: ['11.0.0.10/24'] },
    { host: internet, device: 'web', addresses: ['11.0.0.1/24'] },
  );
  await web.ip('route', 'add', 'default', 'via', '11.0.0.1');
  await serve(web);
  return web;
}

/** What a router at home does. */
const ROUTER = `
table ip home {
  chain forward { type nat hook prerouting priority dstnat; iifname "eth0" udp dport 51820 dnat to 192.168.7.10; }
  chain leave { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
`;

/** A host in a network of its own behind `router`, which is .1 there. */
async function behind(
  topology: Topology,
  router: Host,
  name: string,
  network: string,
  number = 5,
): Promise<Host> {
  const host = await topology.host(name);
  await topology.connect(
    { host, device: 'eth0', addresses: [`${network}.${number}/24`] },
    { host: router, device: 'lan', addresses: [`${network}.1/24`] },
  );
  await host.ip('route', 'add', 'default', 'via', `${network}.1`);
  return host;
}

async function serve(host: Host): Promise<void> {
  await host.spawn(NODE, ['-e', WEB_SERVER, host.name]).line(/^ready$/, 20_000);
}
