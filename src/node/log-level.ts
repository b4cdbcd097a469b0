// What a running node writes to its log: asked and changed by the request `log-level`, and by a reload.

import type { NodeRequest } from '../control/target.ts';
import { NodeError } from '../errors.ts';
import { LOG_LEVELS, type Log, type LogLevel } from '../log.ts';
import type { ReloadPart } from './reload.ts';

/** Changes the level where the request names one, in a field `level`, and answers with the one in force. */
export function answerLogLevel(log: Log, { level }: NodeRequest): { level: LogLevel } {
  if (level === undefined) return { level: log.level };
  const known = LOG_LEVELS.find((one) => one === level);
  if (known === undefined) {
    throw new NodeError('ERR_NODE_REQUEST', `${JSON.stringify(level)} is no level of the log`, {
      hint: `there are ${LOG_LEVELS.join(', ')}`,
    });
  }
  log.level = known;
  return { level: known };
}

/** @param isFixed whether the level was decided elsewhere than in the file, which then changes nothing */
export function logLevelPart(log: Log, isFixed: boolean): ReloadPart {
  return {
    prepare: async (from, to) => {
      const former = log.level;
      const level =
        isFixed || from.logging.level === to.logging.level ? former : (to.logging.level ?? 'info');
      return {
        commit: async () => {
          log.level = level;
        },
        rollBack: async () => {
          log.level = former;
        },
        [Symbol.asyncDispose]: async () => {},
      };
    },
  };
}
