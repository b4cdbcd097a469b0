// What is shown for macOS and Windows, as golden files: no test can run it here.

import { expect, test } from 'vitest';
import { renderPf, renderWindows } from '../../../src/firewall/render-elsewhere.ts';
import { hostFacts } from '../../../src/node/host-facts.ts';
import { ConfigFolder } from '../config/files.ts';

function configOf(section: string) {
  using folder = new ConfigFolder();
  const config = folder.load(`
interface: {name: rf0, private_key_file: rf0.key, addresses: [10.9.0.1/24, "fd09::1/64"], listen_port: 51820}
peers:
  alice: {public_key: RTYkjKW1a29KcKrOYB/N+Pu1poawQM0w+YF/RA0n+XQ=, addresses: [10.9.0.2, "fd09::2"], routes: [10.5.0.0/24]}
  bob: {public_key: DAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw=, addresses: [10.9.0.3]}
firewall:
  version: 1
  network: home0
  sites: {alice: {subnets: [10.5.0.0/24]}}
  networks: {app1: {isolation: strict, members: [alice]}}
  ${section}
`);
  const { firewall } = config;
  if (firewall?.host === null || firewall === null) throw new Error('the section is about the host');
  return { host: firewall.host, facts: hostFacts(config), networks: firewall.policy.networks };
}

const SECTION = `mss: off
  host:
    inbound:
      - {name: wg, proto: udp, port: $listen, from: [any]}
      - {name: api, proto: tcp, port: 13669-13670, from: [overlay, lan, "site:alice", 192.0.2.0/24]}
  nat:
    masquerade: [{from: overlay, out: non-overlay}, {from: 192.168.7.0/24, out: en1}]
    publish: [{owner: svc/web, proto: tcp, ports: {80: 8080}, to: 192.168.7.5}]`;

test.each([
  ['pf', renderPf, 'pf'],
  ['windows', renderWindows, 'ps1'],
] as const)('%s', async (name, render, extension) => {
  const { host, facts, networks } = configOf(SECTION);
  const { text, missing } = render(host, facts, networks);
  await expect(text).toMatchFileSnapshot(`golden/elsewhere-${name}.${extension}`);
  expect(missing).toEqual(expect.arrayContaining(['leak_guard', 'nat.publish svc/web']));
});
