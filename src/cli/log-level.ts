// `ringfence log-level NAME [LEVEL]`: what a running node writes to its log.

import { Argument, type Command } from 'commander';
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import { askRunning } from './running-node.ts';

export function registerLogLevel(program: Command): void {
  program
    .command('log-level')
    .summary('show or change what a running node logs')
    .description(
      'Without LEVEL, prints the level in force. A change holds until the node ends, or a reload brings another.',
    )
    .argument('<iface>', 'the interface of the node')
    .addArgument(new Argument('[level]', 'what to log from now on').choices(LOG_LEVELS))
    .action(async (iface: string, level: LogLevel | undefined) => {
      const request = { request: 'log-level', ...(level === undefined ? {} : { level }) };
      const answer = await askRunning<{ level: LogLevel }>(iface, request);
      process.stdout.write(`${answer.level}\n`);
    });
}
