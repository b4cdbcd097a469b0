// explain and policy matrix: the verdict, the row with its place, and what the process returns.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { explain } from '../../../src/cli/explain.ts';
import { exitCodeOf, UsageError } from '../../../src/errors.ts';
import { ConfigFolder } from '../config/files.ts';
import { document, NODE } from '../policy/documents.ts';
import { ringfence } from './program.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());
const cwd = folder.path;
const FILE = 'policy.yaml';

writeFileSync(
  join(cwd, FILE),
  document(
    'services: {files: {addr: [10.9.0.3, "fd09::3"], ports: [tcp/443]}}, profiles: {std: {internet: true, services: [files], deny: [{to: internet, ports: [tcp/25]}]}}, sites: {cellb: {subnets: [10.5.0.0/24], inbound: [files], outbound: any, exit_relay: {consume: true}}}',
    { alice: 'profile: std', bob: 'route_via: cellb' },
  ),
);

/** What the process would return, and what is said. */
function asked([from = '', to = '', traffic = '']: readonly string[]): [code: number, said: string] {
  try {
    const { text, isAllowed } = explain(join(cwd, FILE), from, to, traffic, {});
    return [isAllowed ? 0 : 1, text];
  } catch (error) {
    return [
      exitCodeOf(error),
      error instanceof UsageError ? `${error.message} (${error.code})` : String(error),
    ];
  }
}

describe('explain', () => {
  test('a flow between peers is judged at both tunnels, in both versions', async () => {
    expect(await ringfence(['explain', FILE, 'alice', 'files', 'tcp/443'], { cwd })).toEqual({
      code: 0,
      stderr: '',
      stdout: `alice (10.9.0.2) to files (10.9.0.3), tcp/443: allowed
  in from alice, as peer alice: allow (grant) by firewall.profiles.std.services[0], policy.yaml:10:136
  out to bob, as peer alice: allow (grant) by firewall.profiles.std.services[0], policy.yaml:10:136
alice (fd09::2) to files (fd09::3), tcp/443: allowed
  in from alice, as peer alice: allow (grant) by firewall.profiles.std.services[0], policy.yaml:10:136
  out to bob, as peer alice: allow (grant) by firewall.profiles.std.services[0], policy.yaml:10:136
`,
    });
  });

  test('denied: the exit status says so, and the trace why', async () => {
    expect(await ringfence(['explain', FILE, '10.9.0.2', 'self', '47', '--trace'], { cwd })).toEqual({
      code: 1,
      stderr: '',
      stdout: `10.9.0.2 to self (10.9.0.1), gre: denied
  in from alice, as peer alice: deny (default) by firewall, policy.yaml:10:1
    deny       no row of deny fits
    isolation  no strict network divides them
    grant      no row grants it
    network    no network in common, and the profile reaches no peers
    internet   it is not the internet, or the profile does not have it
    default    deny: firewall, policy.yaml:10:1
`,
    });
  });

  test.each([
    [['alice', 'internet', 'tcp/25'], 1, 'deny (deny) by firewall.profiles.std.deny[0]'],
    [['alice', '9.9.9.9', 'icmp'], 0, 'icmp/echo-request: allowed'],
    [['bob', 'internet', 'udp/53'], 0, 'out to cellb, as peer bob: allow (grant) by peers.bob.route_via'],
    [
      ['site:cellb', 'files', 'tcp/443'],
      0,
      'in from cellb, as site cellb: allow (grant) by firewall.sites.cellb.inbound[0]',
    ],
    [['site:cellb', 'alice', 'tcp/443'], 1, 'as site cellb: deny (default)'],
    [
      ['self', 'site:cellb', 'icmp/echo-reply'],
      0,
      'as this node: allow (grant) by firewall.sites.cellb.outbound',
    ],
    [['192.168.1.1', 'alice', 'tcp/1'], 1, 'out to alice, as somebody outside: deny (default)'],
    [['self', '9.9.9.9', 'tcp/1'], 2, 'nothing from self to 9.9.9.9 goes through a tunnel (ERR_USAGE)'],
    [['alcie', 'files', 'tcp/1'], 2, '"alcie" is no name of this policy (ERR_USAGE)'],
    [['alice', 'files', 'tcp'], 2, '"tcp" is more than one port (ERR_USAGE)'],
    [['alice', 'files', 'https'], 2, '"https" is no traffic'],
    [['alice', '10.9.0.1', 'icmpv6'], 2, 'have no version of IP in common (ERR_USAGE)'],
  ])('%j: %i', (args, code, said) => {
    expect(asked(args)).toEqual([code, expect.stringContaining(said)]);
  });

  test('as JSON', async () => {
    const { stdout, code } = await ringfence(['explain', FILE, 'alice', '10.9.0.3', 'tcp/22', '--json'], {
      cwd,
    });
    expect(code).toBe(1);
    const file = FILE;
    expect(JSON.parse(stdout)).toMatchObject({
      allowed: false,
      paths: [
        {
          source: '10.9.0.2',
          destination: '10.9.0.3',
          protocol: 6,
          port: 22,
          verdict: 'deny',
          legs: [
            {
              leg: 'in',
              peer: 'alice',
              verdict: 'deny',
              stage: 'default',
              rule: { name: 'firewall', file, line: 10, column: 1 },
              trace: [{ stage: 'deny', rule: null }, {}, {}, {}, {}, { stage: 'default', rule: {} }],
            },
          ],
        },
      ],
    });
  });

  test('a file without a policy', async () => {
    writeFileSync(join(cwd, 'plain.yaml'), NODE);
    const { code, stderr } = await ringfence(['explain', 'plain.yaml', 'self', 'self', 'tcp/1'], { cwd });
    expect([code, stderr]).toEqual([2, expect.stringContaining('plain.yaml has no section firewall')]);
  });
});

describe('policy matrix', () => {
  test('as a table', async () => {
    const { stdout, code } = await ringfence(['policy', 'matrix', FILE], { cwd });
    expect(code).toBe(0);
    expect(stdout).toBe(`FROM \\ TO   self  files  alice  bob      carol  cellb  site:cellb  internet
alice       -     all           tcp/443  -      -      -           icmp tcp/1-24 tcp/26-65535 udp other protoc…
bob         -     -      -               -      -      -           all by cellb
carol       -     -      -      -               -      -           -
cellb       -     -      -      -        -             -           -
site:cellb  -     all    -      tcp/443  -      -                  -
self              all    all    all      all    all    all
`);
  });

  test('of some only, as JSON', async () => {
    const { stdout } = await ringfence(['policy', 'matrix', FILE, '--from', 'bob', '--json'], { cwd });
    const [bob] = JSON.parse(stdout);
    expect(bob.from).toBe('bob');
    expect(bob.to.find(({ name }: { name: string }) => name === 'internet')).toMatchObject({
      kind: 'all',
      via: 'cellb',
    });
  });

  test('as a page, which overwrites nothing', async () => {
    const args = ['policy', 'matrix', FILE, '--html', 'page.html'];
    expect(await ringfence(args, { cwd })).toMatchObject({ code: 0, stdout: 'wrote page.html\n' });
    const page = readFileSync(join(cwd, 'page.html'), 'utf8');
    expect(page).toContain('<td class="some"><span>tcp/443</span></td>');
    expect(page).toContain('<td class="all">all<small>by cellb</small></td>');
    expect(await ringfence(args, { cwd })).toMatchObject({ code: 2 });
  });
});
