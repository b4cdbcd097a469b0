// A status and its history → one HTML page: no script, no font, no request, nothing but its own style sheet. It shows what
// `ringfence status` shows, and so no secret; every word is escaped, for names and errors come from elsewhere.

import { type Html, html } from '../html.ts';
import { renderPage } from '../html-page.ts';
import type { History, Sample } from './history.ts';
import { MATRIX_STYLE, type MatrixTable, renderMatrixTable } from './matrix-table.ts';
import { renderRotation } from './rotation-text.ts';
import type {
  DeniedStatus,
  HostPathStatus,
  HostRulesStatus,
  NamesStatus,
  NodeStatus,
  PeerStatus,
  PolicyStatus,
  RotationStatus,
} from './target.ts';
import { renderAge, renderBytes, renderHandshake, renderRate, SESSION_SECONDS } from './units.ts';

/** The browser asks again this often. */
const REFRESH_SECONDS = 5;
/** Of a peer; the rest is counted. */
const SHOWN_PREFIXES = 3;
/** Of those that a row of the policy denies something, and of such rows; the rest is counted. */
const SHOWN_DENIED_PEERS = 3;
const SHOWN_DENIED_ROWS = 20;
/** Of keys that are being changed; the rest is counted. */
const SHOWN_ROTATIONS = 20;

/** Drawn in these units; the browser scales it. */
const PLOT = { width: 960, height: 220, left: 76, right: 12, top: 12, bottom: 28 };

const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #14181f; --muted: #5b6472; --line: #e3e6eb;
  --in: #0b6bc2; --out: #b84d06; --good: #00664c; --bad: #a3341f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1319; --card: #171c24; --text: #e8ebf0; --muted: #9aa4b3; --line: #2a313c;
    --in: #5aaef7; --out: #f2944b; --good: #7fe0bd; --bad: #ff9d8a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 16px 48px; }
h1 { font-size: 1.8rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 4px; }
h2 { font-size: 1.1rem; margin: 0 0 10px; }
p { margin: 0 0 8px; color: var(--muted); }
dl { display: grid; grid-template-columns: auto 1fr; gap: 4px 16px; margin: 12px 0 0; }
dt { color: var(--muted); }
dd { grid-column: 2; margin: 0; min-width: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px; margin-top: 16px; min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 0 5px 14px; border-top: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
thead th { border-top: 0; color: var(--muted); font-weight: 500; }
th:first-child, td:first-child, .left { text-align: left; }
th:first-child { padding-left: 0; }
tbody th { font-weight: 600; min-width: 8em; max-width: 16em; white-space: normal; }
.up { color: var(--good); }
.bad { color: var(--bad); }
.muted { color: var(--muted); }
svg { display: block; width: 100%; height: auto; }
.plot { min-width: 560px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--muted); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); }
.in, .out { fill: none; stroke-width: 2; stroke-linejoin: round; }
.in { stroke: var(--in); } .out { stroke: var(--out); stroke-dasharray: 6 3; }
.key { display: flex; gap: 18px; margin: 0 0 6px; font-size: 0.9rem; }
.key span { display: flex; gap: 8px; align-items: center; }
.key svg { width: 26px; height: 10px; }
code { font: 0.9em ui-monospace, "DejaVu Sans Mono", monospace; color: var(--text); }
tbody th small { display: block; font-weight: 400; color: var(--muted); }
.wide { white-space: normal; min-width: 12em; }
${MATRIX_STYLE}`;

/** What the policy of the file lets whom reach. */
export interface PolicyView {
  /** As it was loaded. */
  readonly file: string;
  /** null: more than a page shows, and than a node should judge beside its work. */
  readonly matrix: MatrixTable | null;
}

/** Complete from doctype to end. `policy` is null where the file has no section `firewall`. */
export function renderStatusPage(
  status: NodeStatus,
  history: History,
  policy: PolicyView | null,
): { readonly contentType: string; readonly body: string } {
  const { interface: own, peers, version } = status;
  const title = `${own.name}: ${aliveCount(peers)} of ${peers.length} peers`;
  const main = html`<h1>${own.name}</h1>
<p>ringfence ${version}, up for ${renderAge(Math.max(0, Date.now() / 1000 - status.startedSeconds))}; ${aliveCount(peers)} of ${peers.length} peers have a session</p>
${factsOf(status)}
${throughput(history.samples)}
${dropsOf(status, history)}
${status.policy === null ? html`` : deniedOf(status.policy)}
${policyOf(policy)}
${peersOf(peers, history)}`;
  const body = renderPage({ title, style: STYLE, main, refreshSeconds: REFRESH_SECONDS });
  return { contentType: 'text/html; charset=utf-8', body };
}

function factsOf({ interface: own, lane, hostRules, names, rotations }: NodeStatus): Html {
  const addresses = own.addresses.length === 0 ? 'none of ours' : own.addresses.join(', ');
  const laneText =
    lane.state === 'running'
      ? html`<span class="up">running</span>`
      : html`<span class="bad">restarting</span>`;
  const failure =
    lane.restarts === 0 ? html`` : html`, restarted ${lane.restarts} times: ${lane.lastFailure ?? ''}`;
  const load =
    lane.asksCookiesOf === 'nobody'
      ? html``
      : html`<dt>under load</dt><dd class="bad">handshakes have to show a cookie: ${lane.asksCookiesOf}</dd>`;
  return html`<section class="card"><h2>Interface</h2><dl>
<dt>addresses</dt><dd>${addresses}</dd>
<dt>UDP port, MTU</dt><dd>${own.listenPort}, ${own.mtu}</dd>
<dt>public key</dt><dd>${own.publicKey ?? 'none'}</dd>
<dt>lane</dt><dd>${laneText}${failure}</dd>
${load}${hostRules === null ? html`` : rulesOf(hostRules)}${names === null ? html`` : namesOf(names)}${rotations.length === 0 ? html`` : rotationsOf(rotations)}</dl></section>`;
}

/** Keys that are being changed. */
function rotationsOf(rotations: readonly RotationStatus[]): Html {
  const shown = rotations.slice(0, SHOWN_ROTATIONS).map((one) => html`<dd>${renderRotation(one)}</dd>`);
  const more = rotations.length - SHOWN_ROTATIONS;
  return html`<dt>rotations</dt>${shown}${more > 0 ? html`<dd>and ${more} more</dd>` : html``}`;
}

function namesOf({ domain, addresses, questions }: NamesStatus): Html {
  const asked = Object.entries(questions).filter(([, count]) => count !== '0');
  const counts = asked.map(([outcome, count]) => `${outcome} ${count}`).join(', ');
  return html`<dt>names</dt><dd>below ${domain}, at ${addresses.join(', ')}</dd><dd>questions: ${counts || 'none yet'}</dd>`;
}

/** What of the host's rules holds, and each that does not. */
function rulesOf({ backend, table, notEnforced, restored, paths }: HostRulesStatus): Html {
  const again = restored === 0 ? '' : `, put back ${restored} times`;
  const missing = notEnforced.map((what) => html`<dd class="bad">${what}</dd>`);
  return html`<dt>host rules</dt><dd>${backend === 'none' ? 'none' : `${backend}, ${backend === 'nft' ? 'table' : 'chains'} ${table}${again}`}</dd>${missing}${pathsOf(paths ?? [])}`;
}

/** How many openings and paths pass, and those that do not. */
function pathsOf(paths: readonly HostPathStatus[]): Html {
  if (paths.length === 0) return html``;
  const passing = paths.filter(({ effective }) => effective === 'yes').length;
  const others = paths
    .filter(({ effective }) => effective !== 'yes')
    .map((path) =>
      path.effective === 'no'
        ? html`<dd class="bad">not effective: ${path.name}: ${path.why ?? ''}</dd>`
        : html`<dd>not known: ${path.name}: ${path.why ?? ''}</dd>`,
    );
  return html`<dt>effective</dt><dd>${passing} of ${paths.length} openings and paths</dd>${others}`;
}

function throughput(samples: readonly Sample[]): Html {
  const last = samples.at(-1);
  const first = samples[0];
  if (first === undefined || last === undefined || first === last) {
    return html`<section class="card"><h2>Throughput</h2><p>There is nothing to draw yet.</p></section>`;
  }
  const { width, height, left, right, top, bottom } = PLOT;
  const most = niceCeiling(Math.max(...samples.flatMap(({ received, sent }) => [received, sent])));
  const spanMs = Math.max(1, last.atMs - first.atMs);
  const x = ({ atMs }: Sample): number => left + ((width - left - right) * (atMs - first.atMs)) / spanMs;
  const y = (value: number): number => height - bottom - ((height - top - bottom) * value) / most;
  const line = (read: (sample: Sample) => number): string =>
    samples.map((sample) => `${x(sample).toFixed(1)},${y(read(sample)).toFixed(1)}`).join(' ');
  const grid = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const at = y(most * part).toFixed(1);
    return html`<line class="grid" x1="${left}" x2="${width - right}" y1="${at}" y2="${at}"/>
<text x="${left - 8}" y="${Number(at) + 4}" text-anchor="end">${renderRate(most * part)}</text>`;
  });
  return html`<section class="card"><h2>Throughput</h2>
<div class="key"><span><svg viewBox="0 0 26 10" aria-hidden="true"><path class="in" d="M0 5h26"/></svg>received ${renderRate(last.received)}</span>
<span><svg viewBox="0 0 26 10" aria-hidden="true"><path class="out" d="M0 5h26"/></svg>sent ${renderRate(last.sent)}</span></div>
<div class="scroll"><svg class="plot" viewBox="0 0 ${width} ${height}" role="img" aria-label="Throughput of all peers over the last ${renderAge(spanMs / 1000)}">
${grid}
<text x="${left}" y="${height - 8}">${renderAge(spanMs / 1000)} ago</text>
<text x="${width - right}" y="${height - 8}" text-anchor="end">now</text>
<polyline class="in" points="${line(({ received }) => received)}"/>
<polyline class="out" points="${line(({ sent }) => sent)}"/>
</svg></div></section>`;
}

/** The next of 1, 2 or 5 times a power of ten bits a second, in bytes; at least a kilobit. */
function niceCeiling(bytesPerSecond: number): number {
  const bits = Math.max(1_000, bytesPerSecond * 8);
  const power = 10 ** Math.floor(Math.log10(bits));
  const step = [1, 2, 5, 10].find((one) => one * power >= bits) ?? 10;
  return (step * power) / 8;
}

function dropsOf(status: NodeStatus, history: History): Html {
  const drops = history.drops(status);
  const faults = Object.entries(status.faults);
  if (drops.length === 0 && faults.length === 0) {
    return html`<section class="card"><h2>Dropped packets</h2><p>None since the start.</p></section>`;
  }
  const rows = drops.map(
    ({ reason, recent, total, lastMs }) => html`<tr><th scope="row">${reason}</th><td>${recent}</td>
<td>${lastMs === null ? 'earlier' : `${renderAge(Math.max(0, Date.now() - lastMs) / 1000)} ago`}</td><td>${String(total)}</td></tr>`,
  );
  const faultRows = faults.map(
    ([fault, count]) =>
      html`<tr><th scope="row">${fault}</th><td class="muted">system call</td><td></td><td>${count}</td></tr>`,
  );
  return html`<section class="card"><h2>Dropped packets</h2><div class="scroll"><table>
<thead><tr><th scope="col">reason</th><th scope="col">last 10 min</th><th scope="col">last</th><th scope="col">since the start</th></tr></thead>
<tbody>${rows}${faultRows}</tbody></table></div></section>`;
}

/** What one row of the policy has denied, whomever. */
interface DeniedRow {
  readonly first: DeniedStatus;
  readonly packets: bigint;
  readonly peers: readonly string[];
}

function deniedOf(policy: PolicyStatus): Html {
  const title = html`<h2>Denied by the policy</h2>`;
  if (policy.state === 'restarting') {
    return html`<section class="card">${title}<p class="bad">No lane runs: nothing passes.</p></section>`;
  }
  const rows = deniedRows(policy.denied);
  if (rows.length === 0)
    return html`<section class="card">${title}<p>Nothing since the lane started.</p></section>`;
  const more = rows.length - SHOWN_DENIED_ROWS;
  return html`<section class="card">${title}<div class="scroll"><table class="denied">
<thead><tr><th scope="col">row of the file</th><th scope="col" class="left">stage</th><th scope="col" class="left">peers</th><th scope="col">packets since the lane started</th></tr></thead>
<tbody>${rows.slice(0, SHOWN_DENIED_ROWS).map(deniedRow)}</tbody></table></div>${more > 0 ? html`<p>and ${more} rows more: <code>ringfence status --json</code></p>` : html``}</section>`;
}

function deniedRow({ first, packets, peers }: DeniedRow): Html {
  const more = peers.length - SHOWN_DENIED_PEERS;
  const names = peers.slice(0, SHOWN_DENIED_PEERS).join(', ');
  return html`<tr><th scope="row">${first.rule ?? 'no row allows it'}<small>${first.place ?? ''}</small></th><td class="left">${first.stage}</td>
<td class="left wide">${names}${more > 0 ? ` and ${more} more` : ''}</td><td>${String(packets)}</td></tr>`;
}

/** By row, where the node has them by row and peer; most packets first. */
function deniedRows(denied: readonly DeniedStatus[]): DeniedRow[] {
  const groups = Map.groupBy(denied, ({ rule, stage }) => JSON.stringify([rule, stage]));
  const rows = [...groups.values()].flatMap((group): DeniedRow[] => {
    const [first] = group;
    if (first === undefined) return [];
    const packets = group.reduce((sum, one) => sum + BigInt(one.packets), 0n);
    return [{ first, packets, peers: group.map(({ peer }) => peer ?? 'a peer that is gone') }];
  });
  return rows.sort((a, b) => Number(b.packets - a.packets));
}

function policyOf(policy: PolicyView | null): Html {
  const title = html`<h2>Who may reach what</h2>`;
  if (policy === null) {
    return html`<section class="card">${title}<p>The file has no section <code>firewall</code>: every peer may reach everything that is routed, as with plain WireGuard.</p></section>`;
  }
  const { file, matrix } = policy;
  if (matrix !== null) return html`<section class="card">${title}${renderMatrixTable(matrix)}</section>`;
  return html`<section class="card">${title}<p>The policy is larger than a table on this page. Ask for some of it: <code>ringfence policy matrix ${file} --from NAME</code>, or about one flow: <code>ringfence explain ${file} FROM TO tcp/443</code></p></section>`;
}

function peersOf(peers: readonly PeerStatus[], history: History): Html {
  if (peers.length === 0) return html`<section class="card"><h2>Peers</h2><p>None.</p></section>`;
  return html`<section class="card"><h2>Peers</h2><div class="scroll"><table class="peers">
<thead><tr><th scope="col">name</th><th scope="col" class="left">endpoint</th><th scope="col">handshake</th><th scope="col">in</th><th scope="col">out</th><th scope="col">received</th><th scope="col">sent</th><th scope="col" class="left">allowed IPs</th></tr></thead>
<tbody>${peers.map((peer) => peerRow(peer, history))}</tbody></table></div></section>`;
}

function peerRow(peer: PeerStatus, history: History): Html {
  const rate = history.rateOf(peer.publicKey);
  const more = peer.allowedIps.length - SHOWN_PREFIXES;
  const prefixes = peer.allowedIps.slice(0, SHOWN_PREFIXES).join(', ');
  return html`<tr><th scope="row">${peer.name}</th><td class="left">${peer.endpoint ?? '–'}</td>
<td class="${isAlive(peer) ? 'up' : 'muted'}">${renderHandshake(peer.latestHandshakeSeconds)}</td>
<td>${renderRate(rate?.received ?? 0)}</td><td>${renderRate(rate?.sent ?? 0)}</td>
<td>${renderBytes(BigInt(peer.rxBytes))}</td><td>${renderBytes(BigInt(peer.txBytes))}</td>
<td class="left">${prefixes}${more > 0 ? ` and ${more} more` : ''}</td></tr>`;
}

function aliveCount(peers: readonly PeerStatus[]): number {
  return peers.filter(isAlive).length;
}

function isAlive({ latestHandshakeSeconds }: PeerStatus): boolean {
  return latestHandshakeSeconds !== null && Date.now() / 1000 - latestHandshakeSeconds < SESSION_SECONDS;
}
