// Who may reach what, as a table of HTML: for the page of `ringfence policy matrix` and for the status page, which both put
// the style below into their own sheet. Knows no policy: what it draws is plain data.

import { type Html, html } from '../html.ts';

/** Rows open flows to columns; `cells` by row, then by column. */
export interface MatrixTable {
  readonly rows: readonly { readonly name: string }[];
  /** `traffic`: null except of a service. */
  readonly columns: readonly {
    readonly end: { readonly name: string };
    readonly traffic: readonly unknown[] | null;
  }[];
  readonly cells: readonly (readonly MatrixCell[])[];
}

export interface MatrixCell {
  /** own: no tunnel is between the two, or they are one. */
  readonly kind: 'all' | 'some' | 'none' | 'own';
  /** Of `some`: what passes, as a row of the policy would say it. */
  readonly traffic: readonly string[];
  /** Not the same passes in IPv4 and IPv6. */
  readonly differs: boolean;
  /** The peer by which it goes on to the internet; null: by this host, or it is not to the internet. */
  readonly via: string | null;
}

/** Needs the colours `--card`, `--text`, `--muted` and `--line` of the page. */
export const MATRIX_STYLE = `
:root { --all: #00664c; --all-back: #d7efe6; --some: #6b5200; --some-back: #f7edc8; }
@media screen and (prefers-color-scheme: dark) {
  :root { --all: #7fe0bd; --all-back: #10382d; --some: #ecd37a; --some-back: #3a3113; }
}
.swatches { list-style: none; display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 0 0 20px; padding: 0; font-size: 0.9rem; color: var(--muted); }
.swatches li { display: flex; align-items: center; gap: 8px; }
.swatch { padding: 0 10px; border-radius: 6px; border: 1px solid var(--line); }
.matrix { overflow: auto; max-height: 85vh; background: var(--card); border: 1px solid var(--line); border-radius: 12px; width: fit-content; max-width: 100%; }
.matrix table { border-collapse: separate; border-spacing: 0; font-size: 0.85rem; width: max-content; }
.matrix th, .matrix td { padding: 7px 12px; border: 0 solid var(--line); border-width: 0 1px 1px 0; vertical-align: top; text-align: left; white-space: normal; }
.matrix tbody tr:last-child > * { border-bottom-width: 0; }
.matrix tr > :last-child { border-right-width: 0; }
.matrix th { font-weight: 600; color: var(--text); background: var(--card); max-width: 16em; overflow-wrap: anywhere; }
.matrix thead th { position: sticky; top: 0; z-index: 1; }
.matrix tbody th { position: sticky; left: 0; min-width: 0; }
.matrix thead th:first-child { left: 0; z-index: 2; color: var(--muted); font-weight: 400; white-space: nowrap; }
.matrix th small { display: block; font-weight: 400; color: var(--muted); }
.matrix td { font-variant-numeric: tabular-nums; }
.matrix td span { display: block; white-space: nowrap; }
.matrix td small { display: block; font-weight: 400; }
.all { color: var(--all); background: var(--all-back); font-weight: 600; }
.some { color: var(--some); background: var(--some-back); }
.none { color: var(--muted); }
.matrix tbody tr:hover > th, .matrix tbody tr:hover > td { box-shadow: inset 0 2px var(--muted), inset 0 -2px var(--muted); }
@media print { .matrix { max-height: none; overflow: visible; border: 0; } .matrix th { position: static; } }
`;

/** The table in a box that scrolls, with what its colours mean. */
export function renderMatrixTable({ rows, columns, cells }: MatrixTable): Html {
  return html`<p>Each row opens flows to each column; what stands in the cell passes, and the replies with it. Of a network, one
address stands for all of it.</p>
<ul class="swatches" aria-label="colours">
<li><span class="swatch all">all</span> anything, or all of the service</li>
<li><span class="swatch some">tcp/443</span> only this</li>
<li><span class="swatch none">-</span> nothing</li>
<li>empty: no tunnel is on the way, the policy is not asked</li>
</ul>
<div class="scroll matrix" tabindex="0">
<table>
<thead><tr><th scope="col">from \\ to</th>${columns.map(renderHeading)}</tr></thead>
<tbody>
${rows.map(({ name }, i) => html`<tr><th scope="row">${name}</th>${(cells[i] ?? []).map(renderCell)}</tr>\n`)}</tbody>
</table>
</div>`;
}

function renderHeading({ end, traffic }: MatrixTable['columns'][number]): Html {
  return html`<th scope="col">${end.name}${traffic === null ? html`` : html`<small>service</small>`}</th>`;
}

function renderCell({ kind, traffic, differs, via }: MatrixCell): Html {
  const way = via === null ? html`` : html`<small>by ${via}</small>`;
  const mark = html`${way}${differs ? html`<small>not alike in IPv4 and IPv6</small>` : html``}`;
  if (kind !== 'some')
    return html`<td class="${kind}">${{ all: 'all', none: '-', own: '' }[kind]}${mark}</td>`;
  return html`<td class="some">${traffic.map((text) => html`<span>${text}</span>`)}${mark}</td>`;
}
