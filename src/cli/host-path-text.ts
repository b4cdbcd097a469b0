// What the self-test found of an opening that packets do not get through, as a line.

import type { HostPathStatus } from '../control/target.ts';

/** The lines of those that do not pass, or of which that is not known. */
export function renderHostPaths(paths: readonly HostPathStatus[]): string[] {
  return paths
    .filter(({ effective }) => effective !== 'yes')
    .map(
      ({ name, effective, why }) => `${effective === 'no' ? 'not effective' : 'not known'}: ${name}: ${why}`,
    );
}
