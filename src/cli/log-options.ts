// The options of commands that log: `--log-level` and `--log-format`.

import { type Command, Option } from 'commander';
import {
  createLog,
  environmentLevel,
  LOG_FORMATS,
  LOG_LEVELS,
  type Log,
  type LogFormat,
  type LogLevel,
} from '../log.ts';

export interface LogCommandOptions {
  readonly logLevel?: LogLevel;
  readonly logFormat?: LogFormat;
}

export function addLogOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--log-level <level>', 'what to log (default: LOG_LEVEL, or info)').choices(LOG_LEVELS),
    )
    .addOption(
      new Option(
        '--log-format <format>',
        'lines to read, or JSON (default: text on a terminal, else json)',
      ).choices(LOG_FORMATS),
    );
}

/** The log that the options ask for; without `--log-level`, the environment, then the file, then `info`. */
export function logOf({ logLevel, logFormat }: LogCommandOptions, ofFile: LogLevel | null = null): Log {
  const level = logLevel ?? environmentLevel() ?? ofFile;
  return createLog({
    ...(level === null ? {} : { level }),
    ...(logFormat === undefined ? {} : { format: logFormat }),
  });
}

/** Whether the command line or the environment says what is logged, so that a file has no say. */
export function isLevelGiven({ logLevel }: LogCommandOptions): boolean {
  return (logLevel ?? environmentLevel()) !== null;
}
