// Guards the tests that make interfaces: they run only in a network namespace of their own, which the runner sets up
// and says so in the environment (README.md has the command). Beside it, the commands they run there.
import { execFileSync } from 'node:child_process';

/** Throws unless the runner says that this network namespace is made for tests. */
export function requireTestNamespace(): void {
  if (process.env['RINGFENCE_TEST_NAMESPACE'] !== '1') {
    throw new Error(
      'these tests make interfaces, so they run only in a private network namespace: use `npm test`, or see ' +
        '"Tests" in native/README.md, which sets RINGFENCE_TEST_NAMESPACE=1 inside one',
    );
  }
}

/** Runs a command to its end; throws with its stderr if it fails. */
export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Runs `ip` with words split at spaces. */
export function ip(words: string): string {
  return run('ip', ...words.split(' '));
}
