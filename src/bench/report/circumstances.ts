// What a reader needs to judge the numbers and to make them again: the ground they were measured on, the machine, every
// version, the settings, the command, and what the run itself noted.

import { type Html, html } from '../../html.ts';
import type { Result } from '../result.ts';
import { roundsOf } from './words.ts';

const GIBIBYTE = 1024 ** 3;

export function renderCircumstances(result: Result): Html {
  return html`<section>
<h2>How it was measured</h2>
<div class="topology" role="img" aria-label="Two hosts, left and right, joined by one wire; the tunnel lies on top of it.">
<div class="host">left</div><div class="tunnel">tunnel</div><div class="host">right</div><div class="wire">one wire (veth)</div>
</div>
<ul>
<li>Both ends run on this one machine, each in a network namespace of its own: what one end takes, the other lacks. The same holds for every
implementation, so ratios carry over to other machines better than absolute numbers.</li>
<li>Implementations take turns, ${roundsOf(result)} each, every other round in reverse order, and each starts anew. A ratio is taken within a round:
what else the machine did then slowed down both.</li>
<li>Bars are medians, lines run from the least to the most, and every dot is one round, the first on top. No round is left out.</li>
</ul>
</section>
<section>
<h2>Machine, versions, and how to repeat it</h2>
<div class="facts">
<div class="card"><h3>Machine and run</h3>${renderFacts(factsOf(result))}</div>
<div class="card"><h3>Implementations</h3>${renderFacts(result.peers.map(({ name, version, offloads }) => [name, [version, `offloads: ${offloads.join(', ') || 'it does not say'}`]]))}</div>
</div>
<h3 class="after">To repeat it</h3>
<pre tabindex="0"><code>${result.command}</code></pre>
${renderNotes(result.notes)}
</section>`;
}

type Fact = readonly [term: string, lines: readonly string[]];

function factsOf({ machine, settings, date, commit, clean }: Result): Fact[] {
  const { cpu, cores, memoryBytes, kernel } = machine;
  return [
    ['processor', [`${cpu}, ${cores} ${cores === 1 ? 'core' : 'cores'}`]],
    ['memory', [`${(memoryBytes / GIBIBYTE).toFixed(1)} GiB`]],
    ['kernel', [`Linux ${kernel}`]],
    ['date', [new Date(date).toISOString().slice(0, 16).replace('T', ', ').concat(' UTC')]],
    ['commit', [`${commit.slice(0, 12)}${clean ? '' : ', with changes'}`]],
    [
      'settings',
      [
        `rounds: ${settings.rounds}, seconds per stream: ${settings.seconds}, MTU: ${settings.mtus.join(', ') || '–'}`,
      ],
    ],
  ];
}

function renderFacts(facts: readonly Fact[]): Html {
  return html`<dl>${facts.map(([term, lines]) => html`<dt>${term}</dt><dd>${lines.map((line) => html`<div>${line}</div>`)}</dd>`)}</dl>`;
}

function renderNotes(notes: readonly string[]): Html {
  if (notes.length === 0) return html``;
  return html`<h3 id="notes">Notes</h3><ul>${notes.map((note) => html`<li>${note}</li>`)}</ul>`;
}
