// The measurements themselves: a section per group of metrics, in it a card per metric with a plot of all implementations at
// each MTU, and beneath it the same as numbers.

import { type Html, html } from '../../html.ts';
import {
  METRIC_GROUPS,
  type Metric,
  type MetricGroup,
  type Place,
  placesOf,
  type Result,
  type Spread,
  scoresOf,
  spreadOf,
} from '../result.ts';
import type { Plots } from './report.ts';
import { colorOfPeer, GROUP_WORDS, renderValue } from './words.ts';

/** What one implementation scored in one place. */
interface Score {
  readonly peer: string;
  readonly color: string;
  /** Round → value. */
  readonly rounds: ReadonlyMap<number, number>;
  readonly spread: Spread;
}

/** The groups that have a sample, in their order. */
export function renderGroups(result: Result, plots: Plots): Html {
  const byGroup = Map.groupBy(placesOf(result), ({ metric }) => metric.group);
  return html`${[...byGroup].map(([group, places]) => renderGroup(result, group, places, plots))}`;
}

function renderGroup(result: Result, group: MetricGroup, places: readonly Place[], plots: Plots): Html {
  const byMetric = Map.groupBy(places, ({ metric }) => metric);
  return html`<section class="group">
<div><h2>${METRIC_GROUPS[group]}</h2>
<p class="muted">${GROUP_WORDS[group]}</p></div>
<div class="grid">${[...byMetric].map(([metric, of]) => renderMetric(result, metric, of, plots))}</div>
</section>`;
}

function renderMetric(result: Result, metric: Metric, places: readonly Place[], plots: Plots): Html {
  const scored = places.map((place) => ({ place, scores: scoresAt(result, place) }));
  // MTUs share one axis, so that their bars can be compared too.
  const maximum = Math.max(...scored.flatMap(({ scores }) => scores.map(({ spread }) => spread.maximum)));
  const figures = scored.map(({ place: { mtu }, scores }) => {
    const bars = scores.map(({ peer, color, rounds, spread }) => ({
      name: peer,
      color,
      values: [...rounds.values()],
      spread,
      text: `${renderValue(metric, spread.median)} ${metric.unit}`,
    }));
    const place = mtu === null ? '' : ` at MTU ${mtu}`;
    const words = bars.map(({ name, text }) => `${name} ${text}`).join(', ');
    const label = `${metric.title}${place}, medians: ${words}. ${metric.better === 'more' ? 'More' : 'Less'} is better.`;
    return html`${mtu === null ? html`` : html`<h4>MTU ${mtu}</h4>`}${plots.renderBars(bars, maximum, label)}`;
  });
  return html`<figure class="card">
<figcaption><h3>${metric.title}</h3><p>${metric.unit}, ${metric.better === 'more' ? 'more is better →' : '← less is better'}</p></figcaption>
${figures}
<details><summary>The numbers</summary>
<div class="scroll" role="region" tabindex="0" aria-label="${metric.title}, the numbers">${scored.map(({ place, scores }) => renderNumbers(place, scores))}</div>
</details>
</figure>`;
}

function scoresAt(result: Result, place: Place): Score[] {
  return result.peers.flatMap(({ name }, index) => {
    const rounds = scoresOf(result, name, place);
    const spread = spreadOf(rounds.values());
    return spread === null ? [] : [{ peer: name, color: colorOfPeer(index), rounds, spread }];
  });
}

function renderNumbers({ metric, mtu }: Place, scores: readonly Score[]): Html {
  const cells = (spread: Spread) =>
    [spread.median, spread.minimum, spread.maximum].map(
      (value) => html`<td>${renderValue(metric, value)}</td>`,
    );
  const rows = scores.map(
    ({ peer, spread, rounds }) => html`<tr><th scope="row">${peer}</th>${cells(spread)}</tr>
<tr><td colspan="4" class="muted">${[...rounds].map(([round, value]) => html`<span class="round">${round}: ${renderValue(metric, value)}</span> `)}</td></tr>`,
  );
  return html`<table>
<caption>${metric.title}${mtu === null ? '' : `, MTU ${mtu}`}: ${metric.unit}, and each round beneath</caption>
<thead><tr><th scope="col">implementation</th><th scope="col">median</th><th scope="col">least</th><th scope="col">most</th></tr></thead>
<tbody>${rows}</tbody>
</table>`;
}
