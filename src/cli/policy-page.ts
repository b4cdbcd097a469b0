// The policy as one HTML page that needs nothing else: no script, no font, no request. Names come from a file, so every word
// is escaped, and the page forbids itself everything but its own style sheet.

import { MATRIX_STYLE, type MatrixTable, renderMatrixTable } from '../control/matrix-table.ts';
import { html } from '../html.ts';
import { renderPage } from '../html-page.ts';

const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #14181f; --muted: #5b6472; --line: #dfe3e9;
}
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #0f1319; --card: #171c24; --text: #e8ebf0; --muted: #9aa4b3; --line: #2a313c; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { padding: 32px 20px 48px; }
h1 { font-size: 1.8rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 8px; overflow-wrap: anywhere; }
p { color: var(--muted); margin: 0 0 16px; max-width: 52em; }
${MATRIX_STYLE}`;

/** The page, complete from doctype to end. */
export function renderPolicyPage(file: string, matrix: MatrixTable): string {
  const title = `Who may reach what: ${file}`;
  const main = html`<h1>${title}</h1>
${renderMatrixTable(matrix)}`;
  return renderPage({ title, style: STYLE, main });
}
