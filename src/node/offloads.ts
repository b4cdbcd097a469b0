// Which offloads a node asks for, and why one is not in use: the file, the environment, the host, or a refusal later on.

import { OFFLOADS, type Offload, type OffloadSwitches } from '../config/offloads.ts';
import type { OffloadObstacle, OffloadStatus } from '../control/target.ts';
import type { LaneOffloads } from '../lane/messages.ts';

/** What stands against an offload before the host is asked; null where nothing does. */
export type OffloadChoice = Readonly<Record<Offload, OffloadObstacle | null>>;

/** The environment wins over the file, both ways. */
export function chooseOffloads(
  file: Readonly<Record<Offload, boolean>>,
  environment: OffloadSwitches,
): OffloadChoice {
  const obstacle = (offload: Offload): OffloadObstacle | null => {
    const asked = environment[offload];
    if (asked === undefined) return file[offload] ? null : 'config';
    return asked ? null : 'environment';
  };
  return byOffload(obstacle);
}

export function wantedOffloads(choice: OffloadChoice): LaneOffloads {
  return byOffload((offload) => choice[offload] === null);
}

/** @param sendsTrains false once the host refused one */
export function offloadStatuses(
  choice: OffloadChoice,
  found: LaneOffloads,
  sendsTrains: boolean,
): Readonly<Record<Offload, OffloadStatus>> {
  return byOffload((offload) => {
    const refused = offload === 'udpGso' && !sendsTrains ? 'eio' : null;
    const obstacle = choice[offload] ?? (found[offload] ? refused : 'host');
    return { isActive: obstacle === null, obstacle };
  });
}

function byOffload<T>(stateOf: (offload: Offload) => T): Record<Offload, T> {
  return Object.fromEntries(OFFLOADS.map((offload) => [offload, stateOf(offload)])) as Record<Offload, T>;
}
