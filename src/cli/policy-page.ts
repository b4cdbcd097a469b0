// The policy as one HTML page that needs nothing else: no script, no font, no request. Names come from a file, so every word
// is escaped, and the page forbids itself everything but its own style sheet.

import { createHash } from 'node:crypto';
import { type Html, html, trusted } from '../html.ts';
import type { Cell, Column, Matrix } from '../policy/matrix.ts';

const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #14181f; --muted: #5b6472; --line: #dfe3e9;
  --all: #00664c; --all-back: #d7efe6; --some: #6b5200; --some-back: #f7edc8;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0f1319; --card: #171c24; --text: #e8ebf0; --muted: #9aa4b3; --line: #2a313c;
    --all: #7fe0bd; --all-back: #10382d; --some: #ecd37a; --some-back: #3a3113;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { padding: 32px 20px 48px; }
h1 { font-size: 1.8rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 8px; overflow-wrap: anywhere; }
p { color: var(--muted); margin: 0 0 16px; max-width: 52em; }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 0 0 20px; padding: 0; font-size: 0.9rem; color: var(--muted); }
li { display: flex; align-items: center; gap: 8px; }
.scroll { overflow: auto; max-height: 85vh; background: var(--card); border: 1px solid var(--line); border-radius: 12px; width: fit-content; max-width: 100%; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.85rem; width: max-content; }
th, td { padding: 7px 12px; border-bottom: 1px solid var(--line); border-right: 1px solid var(--line); vertical-align: top; text-align: left; }
tr:last-child > * { border-bottom: 0; }
tr > :last-child { border-right: 0; }
th { font-weight: 600; background: var(--card); max-width: 16em; overflow-wrap: anywhere; }
thead th { position: sticky; top: 0; z-index: 1; }
tbody th { position: sticky; left: 0; }
thead th:first-child { left: 0; z-index: 2; color: var(--muted); font-weight: 400; white-space: nowrap; }
th small { display: block; font-weight: 400; color: var(--muted); }
td { font-variant-numeric: tabular-nums; }
td span { display: block; white-space: nowrap; }
.all { color: var(--all); background: var(--all-back); font-weight: 600; }
.some { color: var(--some); background: var(--some-back); }
.none { color: var(--muted); }
.swatch { padding: 0 10px; border-radius: 6px; border: 1px solid var(--line); }
td small { font-weight: 400; }
tbody tr:hover > th, tbody tr:hover > td { box-shadow: inset 0 2px var(--muted), inset 0 -2px var(--muted); }
@media print { .scroll { max-height: none; overflow: visible; border: 0; } th { position: static; } }
`;

/** The page, complete from doctype to end. */
export function renderPolicyPage(file: string, { rows, columns, cells }: Matrix): string {
  const title = `Who may reach what: ${file}`;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentSecurityPolicy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${trusted(STYLE)}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p>Each row opens flows to each column; what stands in the cell passes, and the replies with it. Of a network, one address
stands for all of it.</p>
<ul aria-label="colours">
<li><span class="swatch all">all</span> anything, or all of the service</li>
<li><span class="swatch some">tcp/443</span> only this</li>
<li><span class="swatch none">-</span> nothing</li>
<li>empty: no tunnel is on the way, the policy is not asked</li>
</ul>
<div class="scroll" tabindex="0">
<table>
<thead><tr><th scope="col">from \\ to</th>${columns.map(renderHeading)}</tr></thead>
<tbody>
${rows.map(({ name }, i) => html`<tr><th scope="row">${name}</th>${(cells[i] ?? []).map(renderCell)}</tr>\n`)}</tbody>
</table>
</div>
</main>
</body>
</html>
`;
  return page.text;
}

function renderHeading({ end, traffic }: Column): Html {
  return html`<th scope="col">${end.name}${traffic === null ? html`` : html`<small>service</small>`}</th>`;
}

function renderCell({ kind, traffic, differs }: Cell): Html {
  const mark = differs ? html`<small>not alike in IPv4 and IPv6</small>` : html``;
  if (kind !== 'some')
    return html`<td class="${kind}">${{ all: 'all', none: '-', own: '' }[kind]}${mark}</td>`;
  return html`<td class="some">${traffic.map((text) => html`<span>${text}</span>`)}${mark}</td>`;
}

/** Nothing may be loaded or run, and of styles only the one sheet, known by its digest. */
function contentSecurityPolicy(): string {
  const digest = createHash('sha256').update(STYLE).digest('base64');
  return `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'`;
}
