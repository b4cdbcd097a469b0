// A result, or the comparison of two, as text for a terminal. Pure.

import type { Change, Comparison } from '../bench/compare.ts';
import {
  METRIC_GROUPS,
  type Metric,
  medianInterval,
  type Place,
  pairedRatios,
  placesOf,
  type Result,
  type Spread,
  scoresOf,
  spreadOf,
  standingOf,
} from '../bench/result.ts';
import { alignColumns } from './table.ts';

/** Medians with their spread, and how ours compares with each other peer. */
export function renderResult(result: Result): string {
  const [own, ...others] = result.peers;
  if (own === undefined) return '';
  const heading = ['', own.name, ...others.flatMap(({ name }) => [name, '÷'])];
  const sections = Map.groupBy(placesOf(result), sectionOf);
  const rows = [...sections].flatMap(([title, places]) => [
    [title, ...heading.slice(1).map(() => '')],
    ...places.map((place) => [
      `  ${titleOf(place.metric)}`,
      cellOf(result, own.name, place),
      ...others.flatMap(({ name }) => [
        cellOf(result, name, place),
        renderRatio(place.metric, pairedRatios(result, own.name, name, place)),
      ]),
    ]),
  ]);
  return `${[...alignColumns([heading, ...rows]), '', ...circumstancesOf(result)].join('\n')}\n`;
}

function sectionOf({ metric, mtu }: Place): string {
  return mtu === null ? METRIC_GROUPS[metric.group] : `${METRIC_GROUPS[metric.group]}, MTU ${mtu}`;
}

function titleOf({ title, unit }: Metric): string {
  return `${title}, ${unit}`;
}

function cellOf(result: Result, peer: string, { metric, mtu }: Place): string {
  return renderSpread(metric.digits, spreadOf(scoresOf(result, peer, { metric, mtu }).values()));
}

function renderSpread(digits: number, spread: Spread | null): string {
  if (spread === null) return '-';
  const [minimum, median, maximum] = [spread.minimum, spread.median, spread.maximum].map((value) =>
    value.toFixed(digits),
  );
  return minimum === maximum ? `${median}` : `${median} (${minimum}…${maximum})`;
}

/** `1.48 better`: the median ratio, where there are rounds enough with its interval; and which way, where that can be said. */
function renderRatio(metric: Metric, ratios: readonly number[]): string {
  const spread = spreadOf(ratios);
  if (spread === null) return '-';
  const standing = standingOf(metric, ratios);
  const interval = medianInterval(ratios);
  const words = [
    spread.median.toFixed(2),
    ...(interval === null ? [] : [`(${interval.low.toFixed(2)}…${interval.high.toFixed(2)})`]),
    ...(standing === 'undecided' ? [] : [standing]),
  ];
  return words.join(' ');
}

function circumstancesOf({ peers, machine, settings, commit, clean, notes }: Result): string[] {
  const rounds = settings.rounds === 1 ? '1 round' : `${settings.rounds} rounds`;
  return [
    'Medians (least…most); ÷ is the median of the ratios round by round, better or worse where three rounds or more agree.',
    ...(settings.rounds < 6
      ? []
      : [
          'Of six rounds and more ÷ (…) is where that median lies with 95 % certainty, and 1 is not in it where it is better or worse.',
        ]),
    ...peers.map(
      ({ name, version, offloads }) =>
        `${name} ${version}${offloads.length === 0 ? '' : `; offloads ${offloads.join(', ')}`}`,
    ),
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}; both ends on this machine`,
    `${rounds}, streams of ${settings.seconds} s${commit === 'unknown' ? '' : `; commit ${commit.slice(0, 7)}${clean ? '' : ' and changes'}`}`,
    ...notes.map((note) => `note: ${note}`),
  ];
}

/** What changed since the result at `path`: first what got worse. */
export function renderComparison({ reference, changes, warnings }: Comparison, path: string): string {
  const what = reference === null ? 'values' : `ratios to ${reference}, round by round`;
  const order = { worse: 0, better: 1, same: 2, unknown: 3 } as const;
  const sorted = changes.toSorted((a, b) => order[a.verdict] - order[b.verdict]);
  const words = {
    worse: 'slower',
    better: 'faster',
    same: 'within the spread',
    unknown: 'too few rounds to say',
  } as const;
  const digits = ({ metric }: Place): number => (reference === null ? metric.digits : 2);
  const rows = sorted.map((change) => [
    `  ${words[change.verdict]}`,
    `${change.place.metric.title}${change.place.mtu === null ? '' : `, MTU ${change.place.mtu}`}`,
    renderSpread(digits(change.place), change.before),
    `→ ${renderSpread(digits(change.place), change.after)}`,
    renderFactor(change),
  ]);
  const lines = [
    `Compared with ${path} (${what}):`,
    ...warnings.map((warning) => `  mind: ${warning}`),
    ...(rows.length === 0 ? ['  they have nothing in common'] : alignColumns(rows)),
  ];
  return `${lines.join('\n')}\n`;
}

function renderFactor({ factor }: Change): string {
  if (factor === null) return '';
  const percent = (factor - 1) * 100;
  return `${percent >= 0 ? '+' : ''}${percent.toFixed(0)} %`;
}
