// The configuration of CoreDNS: a file to look at, and what must hold of any.

import { expect, test } from 'vitest';
import { renderCorefile } from '../../../src/dns/corefile.ts';
import { ConfigFolder } from '../config/files.ts';
import { document } from '../policy/documents.ts';

function corefileOf(section: string, rows: Readonly<Record<string, string>> = {}) {
  using folder = new ConfigFolder();
  const { firewall } = folder.load(document(section, rows));
  if (firewall === null || firewall.names === null)
    throw new Error('the document has no section firewall.dns');
  return renderCorefile(firewall.policy, firewall.names, []);
}

/** The server block of a name. */
function blockOf(text: string, name: string): string {
  const start = text.indexOf(`\n${name} {\n`);
  return text.slice(start + 1, text.indexOf('\n}\n', start) + 3);
}

const SERVICES = 'services: {files: {addr: [10.9.0.22, "fd09::22"], ports: [tcp/443], dns: files.cell}}';

test('two profiles, a site, denied names and two upstream servers', async () => {
  const { text } = corefileOf(
    `dns: {domain: cell, upstream: [9.9.9.9, "[2620:fe::fe]:5353"]}, ${SERVICES},
 profiles: {std: {services: [files], peers: all}, guest: {peers: none, dns: {deny: ["*.example.org"]}}},
 sites: {cellb: {subnets: [10.5.0.0/24], inbound: [files], dns: {domain: b.example, server: 10.5.0.1}}}`,
    { alice: 'profile: std, allow: [{to: site:cellb}]', bob: 'profile: guest' },
  );
  await expect(text).toMatchFileSnapshot('golden/Corefile');
});

test('every denied peer stands before the one allow, with both versions of its address', () => {
  const { text } = corefileOf(`dns: {domain: cell}, ${SERVICES}, profiles: {std: {services: [files]}}`, {
    alice: 'profile: std',
  });
  const lines = blockOf(text, 'files.cell')
    .split('\n')
    .map((line) => line.trim());
  const blocked = lines.filter((line) => line.startsWith('block net'));
  expect(blocked.slice(0, 2)).toEqual([
    'block net 10.9.0.3/32 fd09::3/128 # bob',
    'block net 10.9.0.4/32 fd09::4/128 # carol',
  ]);
  expect(
    lines.findLastIndex((line) => / (bob|carol|cellb)$/.test(line) && line.includes('/32')),
  ).toBeLessThan(lines.findIndex((line) => line.startsWith('allow net')));
  expect(lines).toContain('drop');
});

test('the mark is that of the rest of the text', () => {
  const one = corefileOf('dns: {domain: cell}');
  const other = corefileOf('dns: {domain: cell, upstream: [9.9.9.9]}');
  expect(one.digest).toMatch(/^[0-9a-f]{32}$/);
  expect(other.digest).not.toBe(one.digest);
  expect(blockOf(one.text, one.markName)).toContain(one.digest);
  expect(corefileOf('dns: {domain: cell}')).toEqual(one);
});
