// What no row about the host can see alone: names that nobody has, ports with two owners, networks of different sizes.

import { type IpAddress, renderIp } from '../../address/ip.ts';
import { renderPrefix } from '../../address/prefix.ts';
import type { ErrorCode } from '../../errors.ts';
import type { PortMapping } from '../../policy/host.ts';
import type { InboundSource } from '../../policy/model.ts';
import { quote } from '../quote.ts';
import type { Path, Report } from '../report.ts';
import type { Fields } from '../section.ts';
import { offsetIn, type Tree } from '../tree.ts';
import { portMappings } from './host.ts';
import type { firewallSchema } from './schema.ts';

/** What the checks look at. INVARIANT: a row in it may lack keys, whatever its type says: they were reported. */
export interface HostDraft {
  readonly root: Tree;
  readonly section: Fields<typeof firewallSchema>;
  readonly peers: ReadonlySet<string>;
  readonly sites: ReadonlySet<string>;
  /** Of this node; 0: any. */
  readonly listenPort: number;
}

type Process = Partial<NonNullable<HostDraft['section']['process']>[number]>;
type Publish = Partial<NonNullable<HostDraft['section']['nat']>['publish'][number]>;

export function checkHost(draft: HostDraft, report: Report): void {
  new HostChecks(draft, report).run();
}

class HostChecks {
  readonly #draft: HostDraft;
  readonly #report: Report;

  constructor(draft: HostDraft, report: Report) {
    this.#draft = draft;
    this.#report = report;
  }

  run(): void {
    const { host, nat, process = [] } = this.#draft.section;
    for (const [i, { from, port }] of (host?.inbound ?? []).entries()) {
      const path = ['firewall', 'host', 'inbound', i];
      this.#checkSources(from, [...path, 'from']);
      if (port === 'listen' && this.#draft.listenPort === 0) {
        const hint = 'write a port there, as in listen_port: 51820';
        this.#add(
          'ERR_CONFIG_PORT',
          [...path, 'port'],
          '$listen is no port yet: interface.listen_port is any',
          hint,
        );
      }
    }
    const publish: readonly Publish[] = nat?.publish ?? [];
    for (const [i, row] of publish.entries()) this.#checkPublish(row, i, publish);
    for (const [i, { from, to }] of (nat?.snat ?? []).entries()) {
      if (from === undefined || from === 'overlay' || from.address.version === to?.version) continue;
      this.#add(
        'ERR_CONFIG_ADDRESS',
        ['firewall', 'nat', 'snat', i, 'to'],
        'it is of another IP version than from',
      );
    }
    for (const [i, { ext, int }] of (nat?.one_to_one ?? []).entries()) {
      if (ext === undefined || int === undefined) continue;
      if (ext.address.version === int.address.version && ext.length === int.length) continue;
      const message = `${renderPrefix(ext)} and ${renderPrefix(int)} are not of one size`;
      this.#add('ERR_CONFIG_ROUTE', ['firewall', 'nat', 'one_to_one', i], message);
    }
    for (const [i, row] of process.entries()) this.#checkProcess(row, ['firewall', 'process', i]);
  }

  #checkProcess({ only, to = [], to_dns }: Process, path: Path): void {
    const code = 'ERR_CONFIG_MISSING_KEY';
    if (to.length === 0 && to_dns === undefined) {
      this.#add(code, path, 'the row names nothing to keep others from', 'add to, or to_dns');
    }
    const who = [...path, 'only'];
    // What is there and wrong was reported.
    const isThere = ['uid', 'cgroup'].some((key) => this.#offset([...who, key]) !== this.#offset(who));
    if (only !== undefined && !isThere) this.#add(code, who, 'it does not say who may', 'add uid, or cgroup');
  }

  #checkPublish(row: Publish, i: number, rows: readonly Publish[]): void {
    const path = ['firewall', 'nat', 'publish', i];
    const { to, from, ports = {}, localhost, listen } = row;
    this.#checkSources(from, [...path, 'from']);
    if (to?.kind === 'peer' && !this.#draft.peers.has(to.name)) {
      this.#add('ERR_CONFIG_UNKNOWN_NAME', [...path, 'to'], `there is no peer ${quote(to.name)}`);
    }
    const mappings = portMappings(ports);
    for (const mapping of mappings) this.#checkMapping(mapping, [...path, 'ports']);
    if (to?.kind === 'address') {
      if (localhost === true && to.address.version === 6) {
        this.#add('ERR_CONFIG_UNSUPPORTED', [...path, 'localhost'], 'no system routes ::1 to another host');
      }
      if (isAddress(listen) && listen.version !== to.address.version) {
        this.#add(
          'ERR_CONFIG_ADDRESS',
          [...path, 'to'],
          `it is of another IP version than ${renderIp(listen)}`,
        );
      }
    }
    this.#checkOwnPort(row, mappings, path);
    const first = rows.slice(0, i).findIndex((other) => clashes(other, row));
    if (first === -1) return;
    const other = ['firewall', 'nat', 'publish', first];
    const { file, line } = this.#report.place(this.#offset(other), other);
    const message = `these ports have another owner: ${rows[first]?.owner ?? 'the row'} in ${file}:${line}`;
    this.#add('ERR_CONFIG_OVERLAP', path, message, 'a port leads to one place');
  }

  #checkMapping({ ports, to }: PortMapping, path: Path): void {
    const { first, last } = ports;
    const isRange = first >= 1 && first <= last && last <= 65_535;
    if (isRange && to + last - first <= 65_535) return;
    const shown = first === last ? `${first}` : `${first}-${last}`;
    this.#add(
      'ERR_CONFIG_PORT',
      path,
      `${shown} → ${to} leaves the ports from 1 to 65535, or is upside down`,
    );
  }

  /** What comes for the tunnel itself would go to the backend. */
  #checkOwnPort({ proto, listen }: Publish, mappings: readonly PortMapping[], path: Path): void {
    const { listenPort } = this.#draft;
    if (proto !== 'udp' || listen === 'overlay' || listenPort === 0) return;
    if (!mappings.some(({ ports }) => ports.first <= listenPort && listenPort <= ports.last)) return;
    this.#add(
      'ERR_CONFIG_OVERLAP',
      [...path, 'ports'],
      `UDP port ${listenPort} is that of the tunnel itself`,
    );
  }

  #checkSources(sources: readonly InboundSource[] | undefined, path: Path): void {
    for (const [i, source] of (sources ?? []).entries()) {
      if (source.kind !== 'site' || this.#draft.sites.has(source.name)) continue;
      this.#add('ERR_CONFIG_UNKNOWN_NAME', [...path, i], `there is no site ${quote(source.name)}`);
    }
  }

  #add(code: ErrorCode, path: Path, message: string, hint?: string): void {
    this.#report.add(code, this.#offset(path), path, message, hint);
  }

  #offset(path: Path): number {
    return offsetIn(this.#draft.root, path);
  }
}

/** Whether one packet could be meant by both rows. */
function clashes(a: Publish, b: Publish): boolean {
  if (a.proto !== b.proto || (a.in !== undefined && b.in !== undefined && a.in !== b.in)) return false;
  if (!sharesListen(a, b)) return false;
  return portMappings(a.ports ?? {}).some((one) =>
    portMappings(b.ports ?? {}).some(
      (two) => one.ports.first <= two.ports.last && two.ports.first <= one.ports.last,
    ),
  );
}

function sharesListen(a: Publish, b: Publish): boolean {
  const versions = [a, b].map(({ to }) => (to?.kind === 'address' ? to.address.version : null));
  if (versions[0] !== versions[1] && !versions.includes(null)) return false;
  if (!isAddress(a.listen) || !isAddress(b.listen)) return true;
  return renderIp(a.listen) === renderIp(b.listen);
}

function isAddress(listen: Publish['listen']): listen is IpAddress {
  return typeof listen === 'object';
}
