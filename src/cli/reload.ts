// `ringfence reload [NAME]` and `ringfence diff FILE`: what a running node takes from a file, and what it would.

import { resolve } from 'node:path';
import { styleText } from 'node:util';
import type { Command } from 'commander';
import type { ConfigChange } from '../config/diff.ts';
import { loadConfig } from '../config/load.ts';
import { askRunning, onlyInterface } from './running-node.ts';

/** A diff is a look; `--json` has all of it. */
const SHOWN_CHANGES = 200;

export function registerReload(program: Command): void {
  program
    .command('reload')
    .summary('have a running node read its file again')
    .description(
      'Applies what is different in the file of the node, whole or not at all, and prints it. Nobody is disconnected.',
    )
    .argument('[iface]', 'the interface of the node; without it, the only one that runs here')
    .option('--json', 'print JSON')
    .action(async (iface: string | undefined, options: { json?: boolean }) => {
      const request = { request: 'reload' };
      const changes = await askRunning<readonly ConfigChange[]>(iface ?? onlyInterface(), request);
      print(changes, options.json === true, 'nothing is different');
    });
}

export function registerDiff(program: Command): void {
  program
    .command('diff')
    .summary('show what a reload would change')
    .description('Compares FILE with the running node of its interface, and changes nothing.')
    .argument('<file>', 'a configuration, such as ringfence.yaml')
    .option('--interface <iface>', 'the node to compare with, where FILE gives it another interface')
    .option('--json', 'print JSON')
    .action(async (file: string, options: { interface?: string; json?: boolean }) => {
      const config = loadConfig(file); // what is wrong with it is said here, with its places
      const name = options.interface ?? config.interface.name;
      const request = { request: 'diff', file: resolve(file) };
      const changes = await askRunning<readonly ConfigChange[]>(name, request);
      print(changes, options.json === true, `${name} is as ${file} says`);
    });
}

function print(changes: readonly ConfigChange[], asJson: boolean, none: string): void {
  if (asJson) {
    process.stdout.write(`${JSON.stringify(changes, null, 2)}\n`);
    return;
  }
  const lines = changes.slice(0, SHOWN_CHANGES).map(renderChange);
  const rest = changes.length - SHOWN_CHANGES;
  if (rest > 0) lines.push(`… and ${rest} more changes`);
  process.stdout.write(`${(lines.length === 0 ? [none] : lines).join('\n')}\n`);
}

/** `interface.mtu: 1420 → 1380`, `peers.alice.routes: + 192.168.8.0/24, - 192.168.7.0/24`, or a peer as a whole. */
export function renderChange({ path, removed, added, isLive }: ConfigChange): string {
  const note = isLive ? '' : ' (needs a restart)';
  const paint = (colour: 'green' | 'red', text: string): string =>
    styleText(colour, text, { stream: process.stdout });
  const [from, ...otherFrom] = removed;
  const [to, ...otherTo] = added;
  if (from !== undefined && to !== undefined && otherFrom.length + otherTo.length === 0) {
    return `${path}: ${paint('red', from)} → ${paint('green', to)}${note}`;
  }
  const items = [
    ...removed.map((item) => paint('red', `- ${item}`)),
    ...added.map((item) => paint('green', `+ ${item}`)),
  ];
  return `${path}: ${items.join(', ')}${note}`;
}
