// The report as text: what its headline says, what stands in its tables, and that no foreign word becomes HTML.

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { renderReport } from '../../../src/bench/report/report.ts';
import { advantageOf, headlineOf, renderTimes } from '../../../src/bench/report/words.ts';
import { METRICS, placesOf, type Result, type Sample } from '../../../src/bench/result.ts';
import { html } from '../../../src/html.ts';
import { madeUpResult } from '../../support/made-up-result.ts';

const made = madeUpResult();

/** One round per pair of numbers, ours and theirs. */
function samplesOf(metric: string, rounds: readonly (readonly [own: number, other: number])[]): Sample[] {
  return rounds.flatMap(([own, other], index) => [
    { round: index + 1, peer: 'ringfence', mtu: 1420, metric, value: own },
    { round: index + 1, peer: 'wireguard-go', mtu: 1420, metric, value: other },
  ]);
}

function resultOf(samples: readonly Sample[], settings: Partial<Result['settings']> = {}): Result {
  return {
    ...made,
    settings: { rounds: 3, seconds: 1, mtus: [1420], ...settings },
    peers: made.peers.slice(0, 2),
    samples,
  };
}

describe('the headline', () => {
  test('says the ratios, and how far they spread', () => {
    const tcp = samplesOf('tcp1.up', [
      [3, 2],
      [4, 2],
      [2, 1.8],
    ]);
    const cpu = samplesOf('cpu.per-gb', [
      [5, 10],
      [6, 10],
      [7, 10],
    ]);
    expect(headlineOf(resultOf([...tcp, ...cpu]))).toEqual({
      title: 'ringfence: 1.50× the TCP throughput of wireguard-go at 0.60× the CPU',
      detail:
        'One stream, MTU 1420, median over 3 rounds. Round by round: 1.11…2.00× the throughput, 0.50…0.70× the CPU time per byte.',
    });
  });

  test('says a loss like a win, and when the rounds do not agree', () => {
    const tcp = samplesOf('tcp1.up', [
      [1, 2],
      [3, 2],
      [1.8, 2],
    ]);
    expect(headlineOf(resultOf(tcp))).toEqual({
      title: 'ringfence: 0.90× the TCP throughput of wireguard-go',
      detail:
        'One stream, MTU 1420, median over 3 rounds. Round by round: 0.50…1.50× the throughput. The rounds do not agree on which is better.',
    });
  });

  test.each([
    ['no TCP', resultOf(samplesOf('ping.idle.p50', [[1, 2]])), 'ringfence beside wireguard-go'],
    [
      'nothing came through at the other',
      resultOf(samplesOf('tcp1.up', [[1, 0]])),
      'ringfence beside wireguard-go',
    ],
    ['alone', { ...made, peers: made.peers.slice(0, 1) }, 'ringfence, measured alone'],
    [
      'the first MTU without a number',
      resultOf(samplesOf('tcp1.up', [[1, 2]]), { mtus: [9000, 1420] }),
      'ringfence: 0.50× the TCP throughput of wireguard-go',
    ],
  ])('%s', (_, result, title) => expect(headlineOf(result).title).toBe(title));
});

test.each([
  [0, '0.00×'],
  [0.6312, '0.63×'],
  [9.996, '10.00×'],
  [31.44, '31.4×'],
  [12_345.6, '12,346×'],
])('%d times reads %s', (ratio, text) => expect(renderTimes(ratio)).toBe(text));

test('an advantage is the ratio, or its inverse where less is better', () => {
  const ratio = { minimum: 0.5, median: 0.8, maximum: 2 };
  const metric = (better: 'more' | 'less') => METRICS.find((one) => one.better === better) ?? METRICS[0];
  expect(advantageOf(metric('more'), ratio)).toEqual(ratio);
  expect(advantageOf(metric('less'), ratio)).toEqual({ minimum: 0.5, median: 1.25, maximum: 2 });
  expect(advantageOf(metric('less'), { minimum: 0, median: 0, maximum: 1 })).toBeNull();
});

test('values in a template are escaped, HTML and lists of it are not', () => {
  const part = html`<b title="${`"'<&>`}">${1}</b>`;
  expect(html`<p>${[part, part]}</p>`.text).toBe(
    '<p><b title="&quot;&#39;&lt;&amp;&gt;">1</b><b title="&quot;&#39;&lt;&amp;&gt;">1</b></p>',
  );
});

describe('the page', () => {
  test('has a plot and a table for everything that was measured, and all circumstances', async () => {
    const page = await renderReport(made);
    const comparisons = made.peers.length - 1;
    expect(page.match(/<svg class="plot"/g)).toHaveLength(placesOf(made).length + comparisons);
    expect(page.match(/<table>/g)).toHaveLength(placesOf(made).length + comparisons);
    for (const { name, version, offloads } of made.peers) {
      for (const word of [name, version, ...offloads]) expect(page).toContain(word);
    }
    for (const word of [made.command, made.machine.cpu, made.machine.kernel, '23.5 GiB', ...made.notes]) {
      expect(page).toContain(word);
    }
    expect(page).not.toContain('NaN');
    expect(page).not.toContain('undefined');
    expect(page.length).toBeLessThan(400_000);
  });

  test('lets in its own style sheet and nothing else', async () => {
    const page = await renderReport(made);
    const [, style = ''] = /<style>(.*?)<\/style>/s.exec(page) ?? [];
    const digest = createHash('sha256').update(style).digest('base64');
    const [, policy = ''] = /Content-Security-Policy" content="([^"]*)"/.exec(page) ?? [];
    expect(policy.replaceAll('&#39;', "'")).toBe(
      `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'`,
    );
    expect(page).not.toMatch(/<style\b.*<style\b|\sstyle=|<script|<link|<img|@import|url\(|https?:/s);
  });

  test('an empty result, a single number, and zeros have a page too', async () => {
    expect(await renderReport(resultOf([]))).toContain('ringfence beside wireguard-go');
    const zeros = await renderReport(resultOf(samplesOf('udp64.loss', [[0, 0]])));
    expect(zeros).toContain('No ratio could be computed.');
    const lossless = await renderReport(resultOf(samplesOf('udp64.loss', [[0, 3]])));
    expect(lossless).toContain('<strong>0.00×</strong>');
    for (const page of [zeros, lossless]) expect(page).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('many MTUs and many implementations', async () => {
    const mtus = [1280, 1420, 2800, 8920];
    const peers = Array.from({ length: 9 }, (_, index) => ({
      name: `peer ${index}`,
      version: '1',
      offloads: [],
    }));
    const samples = peers.flatMap(({ name }, index) =>
      mtus.map((mtu) => ({ round: 1, peer: name, mtu, metric: 'tcp1.up', value: index + 1 })),
    );
    const page = await renderReport({ ...made, settings: { rounds: 1, seconds: 1, mtus }, peers, samples });
    expect(page.match(/<svg class="plot"/g)).toHaveLength(4 + 8);
    expect(page).toContain('In each row from top to bottom: MTU 1280, MTU 1420, MTU 2800, MTU 8920.');
  });

  test('no foreign word becomes HTML, wherever it stands', async () => {
    const word = `"'><script>1</script><img src=x style="x">`;
    const result: Result = {
      ...made,
      commit: word,
      command: word,
      clean: false,
      machine: { ...made.machine, cpu: word, kernel: word },
      peers: made.peers.map(({ name }) => ({ name: word + name, version: word, offloads: [word] })),
      samples: made.samples.map((sample) => ({ ...sample, peer: word + sample.peer })),
      notes: [word],
    };
    const page = await renderReport(result);
    expect(page).not.toMatch(/<script|<img|style="/);
    expect(page.split('&lt;script&gt;').length).toBeGreaterThan(50);
  });
});
