// The report as a reader's browser shows it: every plot is there, nothing sticks out, nothing is loaded, nothing is run.
// Chromium opens the file itself, as it would one that was sent by mail.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { renderReport } from '../../src/bench/report/report.ts';
import { placesOf, type Result } from '../../src/bench/result.ts';
import { findChromium } from '../support/browser.ts';
import { madeUpResult } from '../support/made-up-result.ts';

const CHROMIUM = findChromium();
const HOSTILE = `"'><script>document.title='run'</script><img src="https://example.org/x.png" onerror="document.title='run'">`;

if (CHROMIUM === null) {
  process.stderr.write('skipped: the report in a browser: no Chromium (Debian: apt-get install chromium)\n');
}

/** Every foreign word of a result is an attack, and as long as a line. */
function hostileResult(): Result {
  const made = madeUpResult();
  const word = `${HOSTILE}${'x'.repeat(300)}`;
  const peers = made.peers.map(({ name }, index) => ({
    name: `${name} ${word}`,
    version: word,
    offloads: index === 0 ? [word] : [],
  }));
  const samples = made.samples.map((sample) => ({ ...sample, peer: `${sample.peer} ${word}` }));
  const machine = { ...made.machine, cpu: word, kernel: word };
  return { ...made, clean: false, commit: word, command: word, machine, peers, samples, notes: [word] };
}

const RESULTS: Readonly<Record<string, Result>> = { ordinary: madeUpResult(), hostile: hostileResult() };
const folder = mkdtempSync(join(tmpdir(), 'ringfence-report-'));
let browser: Browser;

beforeAll(async () => {
  if (CHROMIUM === null) return;
  for (const [name, result] of Object.entries(RESULTS)) {
    writeFileSync(join(folder, `${name}.html`), await renderReport(result));
  }
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    chromiumSandbox: false, // it refuses to run as root, and the pages are ours
    args: [
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--disable-component-update',
    ],
  });
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

interface Look {
  readonly name: string;
  readonly width: number;
  readonly colorScheme: 'light' | 'dark';
}

interface Opened extends AsyncDisposable {
  readonly page: Page;
  /** What the page asked for, beside itself. */
  readonly requests: readonly string[];
  /** What the console said: refused styles and requests are there too. */
  readonly complaints: readonly string[];
}

async function open({ name, width, colorScheme }: Look): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  const address = pathToFileURL(join(folder, `${name}.html`)).href;
  const requests: string[] = [];
  const complaints: string[] = [];
  page.on('request', (request) => request.url() === address || requests.push(request.url()));
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('dialog', (dialog) => complaints.push(dialog.message()));
  await page.goto(address);
  return { page, requests, complaints, [Symbol.asyncDispose]: () => page.close() };
}

const looks: readonly Look[] = Object.keys(RESULTS).flatMap((name) =>
  [375, 1280].flatMap((width) =>
    (['light', 'dark'] as const).map((colorScheme) => ({ name, width, colorScheme })),
  ),
);

describe.skipIf(CHROMIUM === null)('the report in a browser', () => {
  test.each(looks)('$name, $width wide, $colorScheme: whole, and quiet', async (look) => {
    await using opened = await open(look);
    const { page, requests, complaints } = opened;
    const plots = await page
      .locator('svg.plot')
      .evaluateAll((all) =>
        all
          .map((one) => one.getBoundingClientRect())
          .map(({ left, right, width, height }) => ({ left, right, width, height })),
      );
    const made = madeUpResult();
    expect(plots).toHaveLength(placesOf(made).length + made.peers.length - 1);
    for (const plot of plots) {
      expect(plot.width).toBeGreaterThan(250);
      expect(plot.height).toBeGreaterThan(50);
      expect(plot.left).toBeGreaterThanOrEqual(0);
      expect(plot.right).toBeLessThanOrEqual(look.width);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(look.width);
    expect(requests).toEqual([]);
    expect(complaints).toEqual([]);
    expect(await page.locator('script, img, link, iframe, [style], [onerror]').count()).toBe(0);
    expect(await page.title()).toContain('× the TCP throughput of wireguard-go');
  });

  test('foreign words are shown as they are', async () => {
    await using opened = await open({ name: 'hostile', width: 1280, colorScheme: 'light' });
    expect(await opened.page.locator('pre').innerText()).toContain(HOSTILE);
    expect(await opened.page.locator('svg.plot text').allTextContents()).toContain(
      `ringfence ${HOSTILE}`.slice(0, 25).concat('…'),
    );
  });

  test.each(['light', 'dark'] as const)(
    '%s: all text stands out from what is behind it',
    async (colorScheme) => {
      await using opened = await open({ name: 'ordinary', width: 1280, colorScheme });
      const colors = await opened.page.evaluate(() => {
        const background = (at: Element | null): string => {
          const own = at === null ? 'rgb(255, 255, 255)' : getComputedStyle(at).backgroundColor;
          return own === 'rgba(0, 0, 0, 0)' ? background(at?.parentElement ?? null) : own;
        };
        return [...document.querySelectorAll('h1, h2, p, td, th, summary, code, dt, dd, svg.plot text')].map(
          (one) => ({
            ink: one.tagName === 'text' ? getComputedStyle(one).fill : getComputedStyle(one).color,
            paper: background(one),
          }),
        );
      });
      expect(colors.length).toBeGreaterThan(500);
      // WCAG 2.2, 1.4.3: 4.5 for text of this size.
      for (const { ink, paper } of colors)
        expect(contrast(ink, paper), `${ink} on ${paper}`).toBeGreaterThanOrEqual(4.5);
    },
  );

  test('dark is dark, and paper is white', async () => {
    const paper = async (opened: Opened): Promise<number> =>
      luminance(await opened.page.evaluate(() => getComputedStyle(document.body).backgroundColor));
    await using light = await open({ name: 'ordinary', width: 1280, colorScheme: 'light' });
    await using dark = await open({ name: 'ordinary', width: 1280, colorScheme: 'dark' });
    expect(await paper(light)).toBeGreaterThan(0.8);
    expect(await paper(dark)).toBeLessThan(0.05);
    await dark.page.emulateMedia({ media: 'print' });
    expect(await paper(dark)).toBe(1);
  });

  test('on paper the numbers are there too', async () => {
    await using opened = await open({ name: 'ordinary', width: 1280, colorScheme: 'light' });
    const visible = async () => {
      const heights = opened.page
        .locator('details table')
        .evaluateAll((all) => all.map((one) => one.checkVisibility({ contentVisibilityAuto: true })));
      return (await heights).filter(Boolean).length;
    };
    expect(await visible()).toBe(0);
    await opened.page.emulateMedia({ media: 'print' });
    // The browser lays the page out anew when it comes to it.
    await expect.poll(visible, { timeout: 5_000 }).toBe(placesOf(madeUpResult()).length);
  });
});

/** WCAG 2.2: the contrast ratio of two CSS colours. */
function contrast(one: string, other: string): number {
  const [lighter = 0, darker = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (lighter + 0.05) / (darker + 0.05);
}

/** WCAG 2.2: relative luminance, 0 to 1, of `rgb(r, g, b)`. */
function luminance(color: string): number {
  const [red = 0, green = 0, blue = 0] = (color.match(/[\d.]+/g) ?? [])
    .map((channel) => Number(channel) / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
