// The public API: a node in a program of one's own. Re-exports only.

import './node-22.ts';

export { loadConfig } from './config/load.ts';
export type { InterfaceConfig, NodeConfig, PeerConfig } from './config/schema.ts';
export { loadSecrets, type Secrets, wipeSecrets } from './config/secrets.ts';
export type { NodeStatus, PeerStatus } from './control/target.ts';
export {
  ConfigError,
  type ErrorCode,
  NodeError,
  type Place,
  type Problem,
  RingfenceError,
} from './errors.ts';
export { createLog, type Log, type LogOptions } from './log.ts';
export { Node, type NodeOptions } from './node/node.ts';
