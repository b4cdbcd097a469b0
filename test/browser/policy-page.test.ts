// The page of `policy matrix` as a reader's browser shows it: whole, quiet, and with text that stands out.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { renderPolicyPage } from '../../src/cli/policy-page.ts';
import type { Cell, Matrix } from '../../src/policy/matrix.ts';
import { findChromium } from '../support/browser.ts';

const CHROMIUM = findChromium();
const HOSTILE = `"'><script>document.title='run'</script><img src="https://example.org/x.png">.yaml`;

if (CHROMIUM === null) {
  process.stderr.write(
    'skipped: the page of a policy in a browser: no Chromium (Debian: apt-get install chromium)\n',
  );
}

/** Thirty peers with names as long as they may be, and every kind of cell. */
function matrix(): Matrix {
  const ends = Array.from({ length: 30 }, (_, i) => ({
    name: `peer-${i}-${'x'.repeat(54)}`,
    addresses: [],
    peer: null,
  }));
  const kinds: readonly Cell[] = [
    { kind: 'all', traffic: [], differs: false, via: 'a peer' },
    { kind: 'some', traffic: ['tcp/443', 'icmp/echo-request'], differs: true, via: null },
    { kind: 'none', traffic: [], differs: false, via: null },
    { kind: 'own', traffic: [], differs: false, via: null },
  ];
  return {
    rows: ends,
    columns: ends.map((end) => ({ end, traffic: null })),
    cells: ends.map((_, i) => ends.flatMap((_end, j) => kinds[(i + j) % kinds.length] ?? [])),
  };
}

const folder = mkdtempSync(join(tmpdir(), 'ringfence-policy-'));
let browser: Browser;

beforeAll(async () => {
  if (CHROMIUM === null) return;
  writeFileSync(join(folder, 'page.html'), renderPolicyPage(HOSTILE, matrix()));
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    chromiumSandbox: false, // it refuses to run as root, and the page is ours
    args: ['--disable-gpu', '--disable-background-networking', '--disable-component-update'],
  });
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

/** The contrast of a text with what is behind it (WCAG 2.2, 1.4.3), from two `rgb(…)` of the browser. */
function contrast(text: string, behind: string): number {
  const luminance = (color: string): number => {
    const [red = 0, green = 0, blue = 0] = (color.match(/[0-9.]+/g) ?? []).slice(0, 3).map((part) => {
      const value = Number(part) / 255;
      return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [light = 0, dark = 0] = [luminance(text), luminance(behind)].toSorted((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

const looks = [375, 1280].flatMap((width) =>
  (['light', 'dark'] as const).map((colorScheme) => ({ width, colorScheme })),
);

describe.skipIf(CHROMIUM === null)('the policy in a browser', () => {
  test.each(looks)('$width wide, $colorScheme', async ({ width, colorScheme }) => {
    const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme });
    const address = pathToFileURL(join(folder, 'page.html')).href;
    const heard: string[] = [];
    page.on('request', (request) => request.url() === address || heard.push(request.url()));
    page.on('console', (message) => heard.push(message.text()));
    await page.goto(address);
    expect(await page.title()).toBe(`Who may reach what: ${HOSTILE}`);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    for (const kind of ['all', 'some', 'none']) {
      const [text = '', behind = ''] = await page
        .locator(`td.${kind}`)
        .first()
        .evaluate((cell) => {
          const scroll = cell.closest('.scroll') ?? cell;
          const own = getComputedStyle(cell).backgroundColor;
          const back = own === 'rgba(0, 0, 0, 0)' ? getComputedStyle(scroll).backgroundColor : own;
          return [getComputedStyle(cell).color, back];
        });
      expect(contrast(text, behind), `${kind}: ${text} on ${behind}`).toBeGreaterThan(4.5);
    }
    // The names stay in sight when the table is moved under them.
    const head = page.locator('tbody th').first();
    const before = await head.boundingBox();
    await page.locator('.scroll').evaluate((one) => one.scrollTo(500, 0));
    expect(await head.boundingBox()).toEqual(before);
    expect(heard).toEqual([]);
    await page.close();
  });
});
