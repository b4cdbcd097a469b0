// The two kinds of plot of the report, drawn by ECharts as SVG text: no browser, no script in the page. Colours are the
// page's CSS variables, so that one drawing serves light, dark and paper. Knows numbers and names, nothing of a Result.

import { CustomChart, type CustomSeriesOption } from 'echarts/charts';
import { GridComponent, type GridComponentOption } from 'echarts/components';
import { type ComposeOption, init, use } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { type Html, html, trusted } from '../../html.ts';
import type { Spread, Standing } from '../result.ts';

use([CustomChart, GridComponent, SVGRenderer]);

type Option = ComposeOption<CustomSeriesOption | GridComponentOption>;
type Shapes = NonNullable<ReturnType<NonNullable<CustomSeriesOption['renderItem']>>>;
/** Draws row `index` around the height `y`; `x` of a value is a place on the horizontal axis. All in units of the drawing. */
type DrawRow = (index: number, y: number, x: (value: number) => number) => Shapes[];

/** A phone's width: wider columns scale the drawing up, none scales it down to where text cannot be read. */
const WIDTH = 340;
const MARGIN = 4;
const RIGHT = WIDTH - MARGIN;
const AXIS_HEIGHT = 22;
const AXIS_LABEL = {
  color: 'var(--muted)',
  fontSize: 11,
  alignMinLabel: 'left',
  alignMaxLabel: 'right',
  hideOverlap: true,
} as const;
const SPLIT_LINE = { lineStyle: { color: 'var(--line)' } };
/** Beyond it a name is cut in the drawing; the table beneath has all of it. */
const NAME_LENGTH = 26;

/** One implementation at one MTU. */
export interface Bar {
  readonly name: string;
  /** A CSS colour. */
  readonly color: string;
  /** One per round, in order. */
  readonly values: readonly number[];
  readonly spread: Spread;
  /** The median as it is to be read. */
  readonly text: string;
}

const BAR_ROW = 50;
const BAR_HEIGHT = 20;

/**
 * Bars of medians from zero, over each the line from least to most and every round as a dot, the first on top.
 * `maximum` is the largest value on the axis, so that plots beside each other can share one. `label` says it all in words.
 */
export function renderBars(bars: readonly Bar[], maximum: number, label: string): Html {
  const draw: DrawRow = (index, y, x) => {
    const bar = bars[index];
    if (bar === undefined) return [];
    const { name, color, values, spread } = bar;
    const middle = y + 10;
    const top = middle - BAR_HEIGHT / 2;
    const [begin, end] = [x(0), x(spread.median)];
    return [
      text(cut(name), MARGIN, top - 9, 'left', { color: 'var(--text)' }),
      text(bar.text, RIGHT, top - 9, 'right', { color: 'var(--text)', weight: 600 }),
      rectangle(begin, top, end - begin, BAR_HEIGHT, color, 0.28),
      line(end, top, end, top + BAR_HEIGHT, color, 2.5),
      line(x(spread.minimum), middle, x(spread.maximum), middle, color, 1.25),
      ...values.map((value, round) =>
        dot(x(value), top + ((round + 1) / (values.length + 1)) * BAR_HEIGHT, 2.6, color),
      ),
    ];
  };
  const axis = {
    type: 'value' as const,
    min: 0,
    splitNumber: 4,
    axisLabel: AXIS_LABEL,
    splitLine: SPLIT_LINE,
  };
  return drawing({ rows: bars.length, rowHeight: BAR_ROW, axis, extent: [0, maximum || 1], label }, draw);
}

/** One ratio: how our numbers stand to theirs in the rounds of one metric. */
export interface Mark {
  /** How many times better, below 1 worse, whichever way the metric counts. Greater than zero. */
  readonly advantage: Spread;
  readonly standing: Standing;
  /** From 0 on, from top to bottom in its row. The first is a disc, the others are diamonds. */
  readonly line: number;
}

/** A metric with its marks, one per MTU. */
export interface MarkRow {
  readonly title: string;
  /** The ratios as they are to be read. */
  readonly text: string;
  readonly marks: readonly Mark[];
}

const TITLE_HEIGHT = 22;
const MARK_HEIGHT = 9;
const ROW_GAP = 10;

/** Ratios on an axis of powers of two around "even": to the right is better. A mark's line runs from least to most. */
export function renderAdvantages(rows: readonly MarkRow[], label: string): Html {
  const lines = 1 + Math.max(0, ...rows.flatMap(({ marks }) => marks.map((mark) => mark.line)));
  const rowHeight = TITLE_HEIGHT + lines * MARK_HEIGHT + ROW_GAP;
  const draw: DrawRow = (index, y, x) => {
    const row = rows[index];
    if (row === undefined) return [];
    const top = y - rowHeight / 2;
    const marks = row.marks.flatMap((mark) => {
      const { minimum, median, maximum } = mark.advantage;
      const color = COLORS[mark.standing];
      const at = (times: number): number => x(Math.log2(times));
      const height = top + TITLE_HEIGHT + (mark.line + 0.5) * MARK_HEIGHT;
      return [
        line(at(minimum), height, at(maximum), height, color, 1.75),
        mark.line === 0 ? dot(at(median), height, 4, color) : diamond(at(median), height, 4.6, color),
      ];
    });
    return [
      line(x(0), top, x(0), top + rowHeight, 'var(--muted)', 1), // even
      text(row.title, MARGIN, top + 13, 'left', { color: 'var(--text)', size: 11 }),
      text(row.text, RIGHT, top + 13, 'right', { color: 'var(--text)', size: 11, weight: 600 }),
      ...marks,
    ];
  };
  const extremes = rows.flatMap(({ marks }) =>
    marks.flatMap(({ advantage }) => [advantage.minimum, advantage.maximum].map(Math.log2).map(Math.abs)),
  );
  const bound = Math.max(1, Math.ceil(Math.max(0, ...extremes)));
  const axis = {
    type: 'value' as const,
    min: -bound,
    max: bound,
    interval: bound === 1 ? 0.5 : Math.ceil(bound / 3),
    axisLabel: { ...AXIS_LABEL, formatter: (at: number) => timesBetter(at, bound) },
    splitLine: SPLIT_LINE,
  };
  return drawing({ rows: rows.length, rowHeight, axis, extent: [-bound, bound], label }, draw);
}

const COLORS = { better: 'var(--better)', worse: 'var(--worse)', undecided: 'var(--even)' } as const;

/** The axis in words: all of them at its ends, only the factor between, and nothing where the ends take the room. */
function timesBetter(exponent: number, bound: number): string {
  if (exponent === 0) return 'even';
  if (Math.abs(exponent) < bound && Math.abs(exponent) > bound * 0.6) return '';
  const times = `${Number((2 ** Math.abs(exponent)).toFixed(1))}×`;
  if (Math.abs(exponent) < bound) return times;
  return `${times} ${exponent > 0 ? 'better' : 'worse'}`;
}

interface Drawing {
  readonly rows: number;
  readonly rowHeight: number;
  readonly axis: NonNullable<GridAxis>;
  /** What the axis must at least show. */
  readonly extent: readonly [number, number];
  readonly label: string;
}

type GridAxis = Extract<Option['xAxis'], { type?: 'value' }>;

/** ECharts lays out the axis and places the rows, one below the other; `drawRow` fills each. */
function drawing({ rows, rowHeight, axis, extent, label }: Drawing, drawRow: DrawRow): Html {
  const height = rows * rowHeight + AXIS_HEIGHT;
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  try {
    const option: Option = {
      animation: false,
      grid: { left: MARGIN, right: MARGIN, top: 0, bottom: AXIS_HEIGHT, outerBoundsMode: 'none' },
      xAxis: axis,
      yAxis: { type: 'category', inverse: true, show: false, data: Array.from({ length: rows }, String) },
      series: [
        {
          type: 'custom',
          silent: true,
          clip: false,
          encode: { x: [1, 2], y: 0 },
          data: Array.from({ length: rows }, (_, index) => [index, ...extent]),
          renderItem: ({ dataIndex }, { coord }) => ({
            type: 'group',
            children: drawRow(
              dataIndex,
              coord([0, dataIndex])[1] ?? 0,
              (value) => coord([value, dataIndex])[0] ?? 0,
            ),
          }),
        },
      ],
    };
    chart.setOption(option);
    return asImage(chart.renderToSVGString({ useViewBox: true }), label);
  } finally {
    chart.dispose();
  }
}

/**
 * The drawing as a picture with a name. What the page's policy forbids goes: ECharts writes fonts as style attributes and
 * adds a style sheet for hovering. Foreign words are safe to pass through: ECharts escapes the text that it draws, quotes too.
 */
function asImage(svg: string, label: string): Html {
  const plain = svg
    .replace(/^<svg\b[^>]*?viewBox="([^"]*)"[^>]*>/, '<svg viewBox="$1">')
    .replaceAll(/<style\b.*?<\/style>/gs, '')
    .replaceAll(/ (?:class|ecmeta_\w+|xml:space|pointer-events)="[^"]*"/g, '')
    .replaceAll(/ style="([^"]*)"/g, (_, style: string) => asAttributes(style));
  const [, viewBox = '', content = ''] = /^<svg viewBox="([^"]*)">(.*)<\/svg>\s*$/s.exec(plain) ?? [];
  return html`<svg class="plot" role="img" aria-label="${label}" viewBox="${viewBox}">${trusted(content)}</svg>`;
}

/** The size and weight of a font as attributes; its family is the page's. */
function asAttributes(style: string): string {
  return [...style.matchAll(/(font-size|font-weight):([\w.]+)/g)]
    .map(([, name, value]) => ` ${name}="${value}"`)
    .join('');
}

function cut(name: string): string {
  const characters = [...name];
  return characters.length <= NAME_LENGTH ? name : `${characters.slice(0, NAME_LENGTH - 1).join('')}…`;
}

function text(
  words: string,
  x: number,
  y: number,
  align: 'left' | 'right',
  { color, size = 12, weight = 400 }: { color: string; size?: number; weight?: number },
): Shapes {
  return {
    type: 'text',
    style: {
      ...{
        text: words,
        x,
        y,
        align,
        verticalAlign: 'middle',
        fill: color,
        fontSize: size,
        fontWeight: weight,
      },
      ...{ stroke: 'var(--card)', lineWidth: 4 }, // a halo, so that lines behind do not cross the letters
    },
  };
}

function rectangle(
  x: number,
  y: number,
  width: number,
  height: number,
  color: string,
  opacity: number,
): Shapes {
  return { type: 'rect', shape: { x, y, width, height }, style: { fill: color, opacity } };
}

function line(x1: number, y1: number, x2: number, y2: number, color: string, width: number): Shapes {
  return { type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: color, lineWidth: width } };
}

/** With a rim of the page's colour: dots that overlap stay countable. */
function dot(cx: number, cy: number, r: number, color: string): Shapes {
  return {
    type: 'circle',
    shape: { cx, cy, r },
    style: { fill: color, stroke: 'var(--card)', lineWidth: 0.8 },
  };
}

function diamond(x: number, y: number, r: number, color: string): Shapes {
  const points = [
    [x, y - r],
    [x + r, y],
    [x, y + r],
    [x - r, y],
  ];
  return {
    type: 'polygon',
    shape: { points },
    style: { fill: color, stroke: 'var(--card)', lineWidth: 0.8 },
  };
}
