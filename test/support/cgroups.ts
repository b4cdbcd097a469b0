// Cgroups (v2) for a test: of the machine's own hierarchy, for there is no other, under names that nothing else has. They end
// with the test; those of one that was killed are empty, harm nobody and are removed by the next.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupMount, findCgroups } from '../../src/firewall/cgroups.ts';
import { until } from './deadline.ts';

const NAME = /^rf-test-[0-9a-f]{12}$/;
const FORGOTTEN_MS = 3_600_000;

/** A cgroup, and one below it, for processes that have ended when it is removed. */
export class TestCgroup implements AsyncDisposable {
  /** From the root of the hierarchy on, as a file names it. */
  readonly path = `rf-test-${randomBytes(6).toString('hex')}`;
  readonly below = join(this.path, 'below');

  make(): void {
    for (const path of [this.path, this.below]) mkdirSync(directoryOf(path));
  }

  /** Who has just ended may still be counted in. */
  async remove(): Promise<void> {
    for (const path of [this.below, this.path]) {
      await until(() => isGone(directoryOf(path)), 10_000, `${path} is empty`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }
}

/** What to put before a command line so that it runs in the cgroup at `path`. */
export function insideCgroup(path: string): readonly string[] {
  return ['sh', '-c', `echo $$ > '${directoryOf(path)}/cgroup.procs' && exec "$@"`, 'sh'];
}

function directoryOf(path: string): string {
  return join(cgroupMount()?.point ?? '', path);
}

function isGone(directory: string): boolean {
  try {
    rmdirSync(directory);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT';
  }
  return true;
}

/**
 * Why packets cannot be told by their cgroup here, or false. Cgroups are the machine's and not a namespace's, so where there are none
 * nothing can be installed that would make some: what needs them is left out, loudly, in CI too.
 */
export const cgroupObstacle = obstacle();
if (cgroupObstacle !== false) console.warn(`cgroups are not shown here: ${cgroupObstacle}`);

function obstacle(): string | false {
  const point = cgroupMount()?.point;
  if (point === undefined) return 'no cgroup v2 is mounted';
  for (const name of readdirSync(point)) {
    const directory = join(point, name);
    if (NAME.test(name) && Date.now() - statSync(directory).mtimeMs > FORGOTTEN_MS) forget(directory);
  }
  const made = new TestCgroup();
  try {
    made.make();
    const { nftPath } = findCgroups([made.path]).get(made.path) ?? {};
    const rule = `socket cgroupv2 level 1 "${nftPath}" accept`;
    const table = `table inet rf_probe { chain c { type filter hook output priority 0; ${rule}; }; }\n`;
    execFileSync('nft', ['--check', '-f', '-'], { input: table, stdio: ['pipe', 'ignore', 'pipe'] });
    return false;
  } catch (error) {
    return String(error);
  } finally {
    forget(directoryOf(made.path));
  }
}

function forget(directory: string): void {
  isGone(join(directory, 'below'));
  isGone(directory);
}
