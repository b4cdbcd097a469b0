// What those parts of a node need of it that change its file and its peers themselves: who invites, and who rotates keys.

import type { NodeConfig } from '../config/schema.ts';
import type { Log } from '../log.ts';
import type { Device } from './device.ts';

export interface HostNode {
  /** As it is in force. */
  readonly config: NodeConfig;
  readonly device: Device;
  readonly log: Log;
  /** Has the file and the device changed while no reload is under way, nor another such change: each waits for its turn. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
  /**
   * The file has become this, and the device has it: the rest of the node follows. Says itself what does not. Only from
   * within {@link exclusively}.
   */
  adopt(config: NodeConfig): Promise<void>;
}
