// What the report says in words: the headline with its spread, what each group of metrics is, numbers as they are read.

import {
  METRICS,
  type Metric,
  type MetricGroup,
  type Place,
  pairedRatios,
  type Result,
  type Spread,
  spreadOf,
} from '../result.ts';

/** What a group measures and how, for a reader who has never seen the program. */
export const GROUP_WORDS: Readonly<Record<MetricGroup, string>> = {
  tcp: 'TCP streams through the tunnel, one or eight at once, in each direction. The receiver counts the bytes, and the wire below confirms them.',
  cpu: 'Processor time, in user and in kernel mode, that the processes of both ends took for each gigabyte of one TCP stream.',
  udp: 'Single datagrams, sent as fast as the socket of the sender takes them. What arrived, in thousands per second.',
  loss: 'The share of those datagrams that did not arrive: more is offered than can pass, and a sender that is slowed down loses less.',
  ping: 'Echo requests through the tunnel: alone, and beside a TCP stream that fills it. The median, and what 99 of 100 stay below.',
  handshakes: 'Handshakes that one end answers per second when many strangers ask at once.',
  memory:
    'Resident memory: the peak of the larger end after all loads, and that of an end with many peers once it has started.',
  start: 'From the start of the process until it is configured and up, with peers that never answer.',
};

/** As many as the style sheet has. */
const PEER_COLORS = 6;

/** The colour of an implementation by its place in `peers`, as the style sheet has it: ours is the first. */
export function colorOfPeer(index: number): string {
  return `var(--peer-${index % PEER_COLORS})`;
}

/** A value of a metric with its digits, without the unit. */
export function renderValue({ digits }: Metric, value: number): string {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** "1.48×": three digits that mean something, whatever the size. */
export function renderTimes(ratio: number): string {
  if (ratio >= 100) return `${Math.round(ratio).toLocaleString('en')}×`;
  return `${ratio.toFixed(ratio >= 10 ? 1 : 2)}×`;
}

export function renderSpread({ minimum, maximum }: Spread): string {
  return `${renderTimes(minimum).slice(0, -1)}…${renderTimes(maximum)}`;
}

/** How our program compares in one place, `own` ÷ `other`; null where no round has both, or the other scored 0. */
export function compare(result: Result, other: string, place: Place): Spread | null {
  const [own] = result.peers;
  return own === undefined ? null : spreadOf(pairedRatios(result, own.name, other, place));
}

/** How many times better than `ratio` of 1, whichever way the metric counts; null where that has no end. */
export function advantageOf(metric: Metric, ratio: Spread): Spread | null {
  if (ratio.minimum <= 0) return null;
  if (metric.better === 'more') return ratio;
  return { minimum: 1 / ratio.maximum, median: 1 / ratio.median, maximum: 1 / ratio.minimum };
}

export interface Headline {
  readonly title: string;
  /** What stands behind the title: rounds, MTU, the spread. */
  readonly detail: string;
}

/** The first comparison in one sentence, exactly as it was measured, be it a win or a loss. */
export function headlineOf(result: Result): Headline {
  const [own, ...others] = result.peers;
  const [other] = others;
  if (own === undefined || other === undefined) {
    return {
      title: `${own?.name ?? 'nothing'}, measured alone`,
      detail: 'Nothing to compare with was measured.',
    };
  }
  for (const mtu of result.settings.mtus) {
    const sentence = headlineAt(result, own.name, other.name, mtu);
    if (sentence !== null) return sentence;
  }
  return {
    title: `${own.name} beside ${other.name}`,
    detail: 'TCP throughput was not measured, so there is no one number: see the plots.',
  };
}

function headlineAt(result: Result, own: string, other: string, mtu: number): Headline | null {
  const at = (id: Metric['id']): Spread | null => {
    const metric = METRICS.find((one) => one.id === id);
    return metric === undefined ? null : compare(result, other, { metric, mtu });
  };
  const [speed, cpu] = [at('tcp1.up'), at('cpu.per-gb')];
  if (speed === null) return null;
  const cost = cpu === null ? '' : ` at ${renderTimes(cpu.median)} the CPU`;
  const costDetail = cpu === null ? '' : `, ${renderSpread(cpu)} the CPU time per byte`;
  const isMixed = [speed, cpu].some((spread) => spread !== null && spread.minimum < 1 && spread.maximum > 1);
  const doubt = isMixed ? ' The rounds do not agree on which is better.' : '';
  return {
    title: `${own}: ${renderTimes(speed.median)} the TCP throughput of ${other}${cost}`,
    detail:
      `One stream, MTU ${mtu}, median over ${roundsOf(result)}. Round by round: ${renderSpread(speed)} the throughput${costDetail}.` +
      (result.settings.rounds < 3 ? ' Too few rounds to show how much they vary.' : doubt),
  };
}

export function roundsOf({ settings: { rounds } }: Result): string {
  return rounds === 1 ? 'one round' : `${rounds} rounds`;
}
