// A whole page that needs nothing else: no script, no font, no request. It forbids itself everything but its own style sheet.

import { createHash } from 'node:crypto';
import { type Html, html, trusted } from './html.ts';

export interface Page {
  readonly title: string;
  /** Never a foreign word. */
  readonly style: string;
  /** What stands in `<main>`. */
  readonly main: Html;
  /** The browser asks again this often; absent = never. */
  readonly refreshSeconds?: number;
}

/** Complete from doctype to end. */
export function renderPage({ title, style, main, refreshSeconds }: Page): string {
  const refresh =
    refreshSeconds === undefined ? html`` : html`<meta http-equiv="refresh" content="${refreshSeconds}">\n`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentSecurityPolicy(style)}">
${refresh}<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${trusted(style)}</style>
</head>
<body>
<main>
${main}
</main>
</body>
</html>
`.text;
}

/** Nothing may be loaded or run, and of styles only the one sheet, known by its digest. */
function contentSecurityPolicy(style: string): string {
  const digest = createHash('sha256').update(style).digest('base64');
  return `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'`;
}
