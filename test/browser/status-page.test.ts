// The status page of a node that runs, with a thousand peers, as a browser shows it: whole, quiet, quick, and read-only.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { History } from '../../src/control/history.ts';
import { renderStatusPage } from '../../src/control/status-page.ts';
import { findChromium, launchBrowser } from '../support/browser.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import {
  deniedOf,
  HOSTILE,
  matrixOf,
  nodeStatusOf,
  peerStatusOf,
  policyStatusOf,
} from '../support/made-up-status.ts';
import { OVERLAY } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { ping, sendDatagrams } from '../support/traffic.ts';

const HAS_CHROMIUM = findChromium() !== null;
const ADDRESS = 'http://127.0.0.1:9586/';
const PEERS = 1_000;
/** Where a look at the page is kept, for whoever asks for one. */
const SCREENSHOTS = process.env['RINGFENCE_TEST_SCREENSHOTS'];

if (!HAS_CHROMIUM) {
  process.stderr.write(
    'skipped: the status page in a browser: no Chromium (Debian: apt-get install chromium)\n',
  );
}

async function keepLook(page: Page, name: string): Promise<void> {
  if (SCREENSHOTS === undefined) return;
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, name), fullPage: name.startsWith('policy') });
}

let pair: Pair;
let browser: Browser;

beforeAll(async () => {
  if (!HAS_CHROMIUM) return;
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
  browser = await launchBrowser(net.left, directory);
});

afterAll(async () => {
  await browser?.close();
  await pair?.[Symbol.asyncDispose]();
});

describe.skipIf(!HAS_CHROMIUM)('the status page in a browser', () => {
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
      expect(await page.getByText('every peer may reach everything').count()).toBe(1);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      expect(await page.locator('script, img, link, iframe, form, [style], [onerror]').count()).toBe(0);
      expect({ requests, complaints }).toEqual({ requests: [], complaints: [] });
      await keepLook(page, `status-${width}.png`);
      await page.close();
    },
  );

  test.each([
    { width: 1280, colorScheme: 'light' },
    { width: 1280, colorScheme: 'dark' },
    { width: 375, colorScheme: 'light' },
    { width: 375, colorScheme: 'dark' },
  ] as const)('$width wide, $colorScheme: a policy, and what it denied', async ({ width, colorScheme }) => {
    const names = ['self', 'files', HOSTILE, ...Array.from({ length: 12 }, (_, i) => `peer-${i}`)];
    const status = {
      ...nodeStatusOf(names.map(peerStatusOf)),
      drops: { policy: '12', 'no-route': '3' },
      policy: policyStatusOf([deniedOf('peers.peer-1.deny[0]', 'peer-1', 9), deniedOf(null, 'peer-2', 3)]),
    };
    const file = join(pair.left.files.directory, 'page.html');
    const view = { file: '/etc/ringfence/rf0.yaml', matrix: matrixOf(names) };
    writeFileSync(file, renderStatusPage(status, new History(), view).body);
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
    const heard: string[] = [];
    page.on('request', (request) => request.url() === pathToFileURL(file).href || heard.push(request.url()));
    page.on('console', (message) => heard.push(message.text()));
    await page.goto(pathToFileURL(file).href);
    expect(await page.title()).toBe(`rf0: 15 of 15 peers`);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    expect(await page.locator('.matrix tbody tr').count()).toBe(names.length);
    expect(await page.locator('.matrix td').count()).toBe(names.length ** 2);
    expect(await page.locator('table.denied tbody tr').allInnerTexts()).toEqual([
      expect.stringMatching(/^peers\.peer-1\.deny\[0\]\s+.*rf0\.yaml:28:9\s+deny\s+peer-1\s+9$/s),
      expect.stringMatching(/^no row allows it\s+default\s+peer-2\s+3$/),
    ]);
    // The names stay in sight when the table is moved under them.
    const head = page.locator('.matrix tbody th').first();
    const before = await head.boundingBox();
    await page.locator('.matrix').evaluate((one) => one.scrollTo(300, 0));
    expect(await head.boundingBox()).toEqual(before);
    expect(await page.locator('script, img, link, iframe, form, [style], [onerror]').count()).toBe(0);
    expect(heard).toEqual([]);
    await keepLook(page, `policy-${width}-${colorScheme}.png`);
    await page.close();
  });

  test('a policy in force: what a packet was denied by is on the page, and who may reach what', async () => {
    const { left, net } = pair;
    const { file, configFile } = left.files;
    const { 'page-r': peer } = file.peers;
    const rows = { allow: [{ to: 'self', ports: ['tcp/443'] }], deny: [{ to: 'self', ports: ['udp/53'] }] };
    const peers = { 'page-r': { ...peer, ...rows } };
    writeFileSync(configFile, stringify({ ...file, peers, firewall: { version: 1 } }));
    await left.command('reload');
    await left.command('rotate', 'identity', '--at', '+1h');
    expect(await ping(net.right, OVERLAY.left.v4, { waitMs: 300 })).toMatchObject({ received: 0 });
    await using _sent = await sendDatagrams(net.right, OVERLAY.left.v4, 53, [new Uint8Array(20)]);
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const denied = page.locator('table.denied tbody tr');
    const shown = async (): Promise<boolean> => {
      await page.goto(ADDRESS);
      return (await denied.count()) === 2;
    };
    await until(shown, 30_000, 'both rows that deny');
    const texts = (await denied.allInnerTexts()).sort();
    expect(texts).toEqual([
      expect.stringMatching(/^no row allows it\s+default\s+page-r\s+\d+$/),
      expect.stringMatching(/^peers\.page-r\.deny\[0\]\s+.*ringfence\.yaml:\d+:\d+\s+deny\s+page-r\s+1$/s),
    ]);
    const reasons = page.locator('section', { hasText: 'Dropped packets' }).locator('tbody tr');
    expect((await reasons.allInnerTexts()).join('\n')).toMatch(/^filter-denied\s+\d+\s.*\d+$/m);
    expect(await page.locator('.matrix tbody tr').count()).toBe(2);
    expect(await page.locator('.matrix').innerText()).toContain('tcp/443');
    expect(await page.getByText('key pair of this node: begins at').count()).toBe(1);
    await keepLook(page, 'policy-live.png');
    await page.close();
  });

  test('a page of another name for this address reads nothing, and nothing but reading is answered', async () => {
    const { left } = pair;
    const ask = (...args: string[]): Promise<string> =>
      left.host.exec('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', ...args, ADDRESS]);
    expect(await ask()).toBe('200');
    expect(await ask('-H', 'Host: evil.example')).toBe('421');
    expect(await ask('-X', 'POST')).toBe('405');
  });
});
