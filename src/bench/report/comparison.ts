// How our program stands to each of the others: all ratios of a run as one plot, and as the table beside it.

import { type Html, html } from '../../html.ts';
import {
  type Place,
  pairedRatios,
  placesOf,
  type Result,
  type ResultPeer,
  type Spread,
  type Standing,
  spreadOf,
  standingOf,
} from '../result.ts';
import type { Mark, MarkRow } from './plots.ts';
import type { Plots } from './report.ts';
import { advantageOf, renderSpread, renderTimes, roundsOf } from './words.ts';

interface Comparison {
  readonly place: Place;
  /** Ours ÷ theirs; null where it cannot be computed. */
  readonly ratio: Spread | null;
  readonly standing: Standing;
}

/** A section per other implementation, none if ours was measured alone. */
export function renderComparisons(result: Result, plots: Plots): Html {
  const [own, ...others] = result.peers;
  if (own === undefined) return html``;
  return html`${others.map((other) => renderComparison(result, own, other, plots))}`;
}

function renderComparison(result: Result, own: ResultPeer, other: ResultPeer, plots: Plots): Html {
  const comparisons = placesOf(result).map((place): Comparison => {
    const ratios = pairedRatios(result, own.name, other.name, place);
    return { place, ratio: spreadOf(ratios), standing: standingOf(place.metric, ratios) };
  });
  if (comparisons.length === 0) return html``;
  const { mtus } = result.settings;
  const rows = rowsOf(comparisons, mtus);
  const label = `Ratios of ${own.name} to ${other.name}, one row per metric; the table has every number.`;
  const plot =
    rows.length === 0
      ? html`<p>No ratio could be computed.</p>`
      : html`<figure class="plain">${plots.renderAdvantages(rows, label)}<figcaption><p>${keyOf(mtus)}</p></figcaption></figure>`;
  return html`<section>
<h2>${own.name} against ${other.name}</h2>
<p>Right of the middle ${own.name} is better. Each mark is the median over ${roundsOf(result)} of ${own.name} ÷ ${other.name} in that round, each line
runs from the least to the most. Grey is undecided: there are fewer than three rounds, or they do not agree; of six
rounds and more, where 1 lies in the interval that has their median with 95 % certainty.</p>
<div class="card pair">
${plot}
<div class="scroll" role="region" tabindex="0" aria-label="the ratios as a table">${renderTable(comparisons, own, other)}</div>
</div>
</section>`;
}

/** More numbers than these do not fit beside a title. */
const NUMBERS_PER_ROW = 2;

function keyOf(mtus: readonly number[]): string {
  return mtus.length < 2
    ? ''
    : `In each row from top to bottom: ${mtus.map((mtu) => `MTU ${mtu}`).join(', ')}.`;
}

/** Metrics in their order, the places of each as marks of one row, a line per MTU. */
function rowsOf(comparisons: readonly Comparison[], mtus: readonly number[]): MarkRow[] {
  const byMetric = Map.groupBy(comparisons, ({ place }) => place.metric);
  return [...byMetric].flatMap(([metric, of]) => {
    const marks: Mark[] = [];
    const numbers: string[] = [];
    for (const { place, ratio, standing } of of) {
      const advantage = ratio === null ? null : advantageOf(metric, ratio);
      if (ratio === null || advantage === null) continue;
      marks.push({ advantage, standing, line: place.mtu === null ? 0 : mtus.indexOf(place.mtu) });
      numbers.push(renderTimes(ratio.median));
    }
    const text = numbers.length > NUMBERS_PER_ROW ? '' : numbers.join('\u2002');
    return marks.length === 0 ? [] : [{ title: metric.title, text, marks }];
  });
}

function renderTable(comparisons: readonly Comparison[], own: ResultPeer, other: ResultPeer): Html {
  const rows = comparisons.map(
    ({ place: { metric, mtu }, ratio, standing }) => html`<tr>
<th scope="row">${metric.title}${mtu === null ? html`` : html` <span class="muted whole">MTU ${mtu}</span>`}</th>
<td>${ratio === null ? '–' : html`<strong>${renderTimes(ratio.median)}</strong> <span class="whole">(${renderSpread(ratio)})</span>`}</td><td class="${standing}">${ratio === null ? '–' : standing}</td></tr>`,
  );
  return html`<table>
<caption>${own.name} ÷ ${other.name}</caption>
<thead><tr><th scope="col">metric</th><th scope="col">ratio (least…most)</th><th scope="col">ours is</th></tr></thead>
<tbody>${rows}</tbody>
</table>`;
}
