// Chromium, looking from a host of a topology: a node serves its loopback address to nobody else.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import type { Host } from './topology.ts';

/** The path of the browser; null where there is none. */
export function findChromium(): string | null {
  for (const program of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      const found = execFileSync('which', [program], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      return found.trim();
    } catch {
      // the next one
    }
  }
  return null;
}

/** Starts the browser in the namespace of `host`. The caller closes it. @param directory for a file that starts it there */
export async function launchBrowser(host: Host, directory: string): Promise<Browser> {
  const wrapper = join(directory, 'chromium');
  const program = findChromium() ?? 'chromium';
  writeFileSync(wrapper, `#!/bin/sh\nexec nsenter --net=/run/netns/${host.namespace} -- ${program} "$@"\n`, {
    mode: 0o755,
  });
  return await chromium.launch({
    executablePath: wrapper,
    chromiumSandbox: false, // it refuses to run as root, and the pages are ours
    args: [
      '--disable-gpu',
      '--disable-quic',
      '--disable-background-networking',
      '--disable-component-update',
    ],
  });
}
