// A result as one HTML page that needs nothing else: no script, no font, no request. It may come from a stranger's file, so
// every word of it is escaped, and the page forbids itself everything but its own style sheet.

import { codeOf, messageOf, RingfenceError } from '../../errors.ts';
import { type Html, html } from '../../html.ts';
import { renderPage } from '../../html-page.ts';
import type { Result } from '../result.ts';
import { renderCircumstances } from './circumstances.ts';
import { renderComparisons } from './comparison.ts';
import { renderGroups } from './groups.ts';
import { STYLE } from './style.ts';
import { colorOfPeer, headlineOf } from './words.ts';

/** The plots, as {@link loadPlots} loads them. */
export type Plots = typeof import('./plots.ts');

/** The page of a result, complete from doctype to end. Throws what {@link loadPlots} throws. */
export async function renderReport(result: Result): Promise<string> {
  const plots = await loadPlots();
  const { title, detail } = headlineOf(result);
  const main = html`<header>
<p class="kicker">Ringfence benchmark, ${day(result.date)}</p>
<h1>${title}</h1>
<p class="lead">${detail}</p>
${renderDoubt(result)}
${renderKey(result)}
</header>
${renderComparisons(result, plots)}
${renderGroups(result, plots)}
${renderCircumstances(result)}
<footer>Drawn by <code>ringfence bench</code> with Apache ECharts. This page loads nothing and runs no script.</footer>`;
  return renderPage({ title, style: STYLE, main });
}

/**
 * Loads ECharts, which nothing else does. Before a long measurement it says whether there can be a page at its end.
 *
 * @throws RingfenceError `ERR_BENCH_PLOTS` if ECharts is not installed: it is an optional dependency.
 */
export async function loadPlots(): Promise<Plots> {
  try {
    return await import('./plots.ts');
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MODULE_NOT_FOUND' || !messageOf(cause).includes('echarts')) throw cause;
    throw new RingfenceError(
      'ERR_BENCH_PLOTS',
      'the plots need the package echarts, which is not installed',
      {
        cause,
        hint: 'install ringfence with its optional dependencies (npm install --include=optional)',
      },
    );
  }
}

function day(date: string): string {
  return new Date(date).toLocaleDateString('en-GB', { dateStyle: 'long', timeZone: 'UTC' });
}

function renderDoubt({ clean, notes }: Result): Html {
  const changes = html`<p class="warning">Measured with changes that no commit holds: nobody else can repeat exactly this.</p>`;
  const remarks = html`<p class="warning">The run made remarks about itself: <a href="#notes">read them</a> before you trust a number.</p>`;
  return html`${clean ? html`` : changes}${notes.length === 0 ? html`` : remarks}`;
}

function renderKey({ peers }: Result): Html {
  const entries = peers.map(
    ({ name, version }, index) =>
      html`<li>${swatch(index)}<span><strong>${name}</strong> <span class="muted">${version}</span></span></li>`,
  );
  return html`<ul class="key" aria-label="implementations">${entries}</ul>`;
}

function swatch(index: number): Html {
  return html`<svg class="swatch" viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="${colorOfPeer(index)}"/></svg>`;
}
