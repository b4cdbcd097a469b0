// The status page of a node that runs, with a thousand peers, as a browser shows it: whole, quiet, quick, and read-only.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { OVERLAY } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { ping } from '../support/traffic.ts';

const CHROMIUM =
  ['chromium', 'chromium-browser', 'google-chrome'].map(find).find((path) => path !== '') ?? '';
const ADDRESS = 'http://127.0.0.1:9586/';
const PEERS = 1_000;
/** Where a look at the page is kept, for whoever asks for one. */
const SCREENSHOTS = process.env['RINGFENCE_TEST_SCREENSHOTS'];

if (CHROMIUM === '') {
  process.stderr.write(
    'skipped: the status page in a browser: no Chromium (Debian: apt-get install chromium)\n',
  );
}

function find(program: string): string {
  try {
    return execFileSync('which', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

let pair: Pair;
let browser: Browser;

beforeAll(async () => {
  if (CHROMIUM === '') return;
  pair = await startPair({
    names: { left: 'page-l', right: 'page-r' },
    metrics: { left: { listen: '127.0.0.1:9586' } },
  });
  const { left, net } = pair;
  const { file, configFile, directory } = left.files;
  const others = Array.from({ length: PEERS - 1 }, (_, index) => [
    `site-${index}`,
    { public_key: generateKeyPair().publicKey, addresses: [`10.10.${index >> 8}.${index & 255}`] },
  ]);
  writeFileSync(configFile, stringify({ ...file, peers: { ...file.peers, ...Object.fromEntries(others) } }));
  await left.command('reload');
  await ping(net.left, OVERLAY.right.v4);
  await ping(net.left, '10.10.0.1', { count: 1, waitMs: 10 }); // to a peer that is nowhere: a dropped packet
  // The browser looks from where the node is: it serves its loopback address.
  const wrapper = join(directory, 'chromium');
  writeFileSync(
    wrapper,
    `#!/bin/sh\nexec nsenter --net=/run/netns/${net.left.namespace} -- ${CHROMIUM} "$@"\n`,
    {
      mode: 0o755,
    },
  );
  browser = await chromium.launch({
    executablePath: wrapper,
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
  await pair?.[Symbol.asyncDispose]();
});

describe.skipIf(CHROMIUM === '')('the status page in a browser', () => {
  test.each([
    { width: 1280, colorScheme: 'light' },
    { width: 375, colorScheme: 'dark' },
  ] as const)(
    '$width wide, $colorScheme: peers, throughput and drops, and nothing is loaded',
    async (look) => {
      const { width, colorScheme } = look;
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
      const requests: string[] = [];
      const complaints: string[] = [];
      page.on('request', (request) => request.url() === ADDRESS || requests.push(request.url()));
      page.on('console', (message) => complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(error.message));
      // The second sample has come: there is something to draw.
      await until(
        async () => {
          const began = performance.now();
          await page.goto(ADDRESS);
          const tookMs = performance.now() - began;
          const isDrawn = (await page.locator('svg.plot polyline').count()) === 2;
          if (isDrawn) console.log(`${PEERS} peers, ${width} wide: loaded in ${tookMs.toFixed(0)} ms`);
          return isDrawn;
        },
        30_000,
        'a plot',
      );
      expect(await page.title()).toBe(`rf-page-l: 1 of ${PEERS} peers`);
      expect(await page.locator('table.peers tbody tr').count()).toBe(PEERS);
      expect(await page.locator('table.peers tbody tr').first().innerText()).toMatch(
        /page-r\s.*198\.51\.100\.10:51820\s.* ago/s,
      );
      expect(await page.getByText('no-endpoint').count()).toBe(1);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      expect(await page.locator('script, img, link, iframe, form, [style], [onerror]').count()).toBe(0);
      expect({ requests, complaints }).toEqual({ requests: [], complaints: [] });
      if (SCREENSHOTS !== undefined) {
        mkdirSync(SCREENSHOTS, { recursive: true });
        await page.screenshot({ path: join(SCREENSHOTS, `status-${width}.png`) });
      }
      await page.close();
    },
  );

  test('a page of another name for this address reads nothing, and nothing but reading is answered', async () => {
    const { left } = pair;
    const ask = (...args: string[]): Promise<string> =>
      left.host.exec('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', ...args, ADDRESS]);
    expect(await ask()).toBe('200');
    expect(await ask('-H', 'Host: evil.example')).toBe('421');
    expect(await ask('-X', 'POST')).toBe('405');
  });
});
