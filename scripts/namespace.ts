// How a script gets into private namespaces (scripts/in-namespace), and whether a tunnel is possible on this machine.

import { constants } from 'node:fs';
import { access, open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TUN = '/dev/net/tun';

export function isInNamespace(): boolean {
  return process.env['RINGFENCE_TEST_NAMESPACE'] === '1';
}

/** Runs `script` (a path in the checkout) again, in private namespaces, and returns its exit status. */
export async function runInNamespace(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<number> {
  const child = execa('scripts/in-namespace', ['scripts/node', script, ...args], {
    cwd: ROOT,
    stdio: 'inherit',
    reject: false,
    env,
  });
  // Ctrl-C reaches the child too, for it shares our process group; we stay until it has ended everything inside.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const result = await child;
  return result.exitCode ?? 1;
}

/** Why there can be no tunnel here and what to do about it, or undefined when there can. */
export async function tunObstacle(): Promise<string | undefined> {
  try {
    await access(TUN, constants.F_OK);
  } catch {
    return `there is no ${TUN}: run \`modprobe tun\` as root, or start the container with --device ${TUN}`;
  }
  try {
    await (await open(TUN, 'r+')).close();
    return undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `${TUN} cannot be opened (${reason}): run this as root, or \`chmod 0666 ${TUN}\` as root`;
  }
}
