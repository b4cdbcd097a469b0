// `ringfence firewall show|apply|remove|diff`: the host's rules of a configuration, without a node.

import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { NodeConfig } from '../config/schema.ts';
import { runDirectory } from '../control/node-socket.ts';
import { RingfenceError, UsageError } from '../errors.ts';
import { processNames } from '../firewall/chains.ts';
import { HostFirewall, type HostFirewallOptions } from '../firewall/host-firewall.ts';
import { renderPf, renderWindows } from '../firewall/render-elsewhere.ts';
import { compareWithHost, renderRules } from '../firewall/shown.ts';
import { createLog } from '../log.ts';
import { hostFacts } from '../node/host-facts.ts';
import { RuleNames } from '../node/rule-names.ts';
import { renderHostPaths } from './host-path-text.ts';
import { stopSignal } from './stop-signal.ts';

const MOST_CONFIRM_SECONDS = 3600;

export function registerFirewall(program: Command): void {
  const firewall = program
    .command('firewall')
    .summary("show, apply or remove the host's rules of a configuration")
    .description("The host's own rules: what `ringfence run` puts in force before the tunnel comes up.");
  firewall
    .command('show')
    .summary('print the rules of FILE, and change nothing')
    .argument('<file>', 'the configuration, such as ringfence.yaml')
    .option(
      '--backend <name>',
      'for nft, for iptables, or for a person to read: nft, iptables or print; for macOS or Windows: pf or windows',
      'nft',
    )
    .action((file: string, { backend }: { backend: string }) => show(file, backend));
  firewall
    .command('apply')
    .summary('put the rules of FILE in force')
    .description('Puts the rules of FILE in place of those of its network, in one transaction.')
    .argument('<file>', 'the configuration, such as ringfence.yaml')
    .option(
      '--confirm-timeout <seconds>',
      'take them back unless Enter is pressed within so many seconds',
      parseSeconds,
    )
    .action((file: string, { confirmTimeout }: { confirmTimeout?: number }) => apply(file, confirmTimeout));
  firewall
    .command('remove')
    .summary('take the rules of FILE, or of a network, out of the host')
    .description(
      'Removes every rule, route and kernel parameter of a network. What is not there is no failure.',
    )
    .argument('<file>', 'the configuration, or the name of a network as in firewall.network')
    .action(remove);
  firewall
    .command('diff')
    .summary('say what applying FILE would change')
    .argument('<file>', 'the configuration, such as ringfence.yaml')
    .action(diff);
}

function show(file: string, backend: string): void {
  if (backend === 'pf' || backend === 'windows') {
    showElsewhere(file, backend);
    return;
  }
  if (backend !== 'nft' && backend !== 'iptables' && backend !== 'print') {
    throw new UsageError('ERR_USAGE', `there is no backend ${backend} to show`, {
      hint: 'write nft, iptables, print, pf or windows',
    });
  }
  const { policy, facts } = optionsOf(file);
  process.stdout.write(renderRules(policy, facts, backend));
}

/** What cannot be said there is told apart, too: the text goes into a file. */
function showElsewhere(file: string, backend: 'pf' | 'windows'): void {
  const { policy, facts } = optionsOf(file);
  const networks = loadConfig(file).firewall?.policy.networks ?? [];
  const render = backend === 'pf' ? renderPf : renderWindows;
  const { text, missing } = render(policy, facts, networks);
  process.stdout.write(text);
  for (const sentence of missing) process.stderr.write(`not in the text: ${sentence}\n`);
}

async function apply(file: string, confirmSeconds: number | undefined): Promise<void> {
  const options = await resolvedOptionsOf(file);
  if (confirmSeconds === undefined) {
    await report(await HostFirewall.apply(options));
    return;
  }
  const undo = await HostFirewall.snapshot(options);
  // The terminal of whoever is cut off may be gone before the time is over.
  const isEnded = stopSignal(['SIGTERM', 'SIGINT', 'SIGHUP']);
  const firewall = await HostFirewall.apply(options);
  let isKept = false;
  try {
    await report(firewall);
    isKept = await isConfirmed(confirmSeconds, isEnded);
  } finally {
    if (!isKept) await undo();
  }
  if (!isKept) {
    throw new RingfenceError(
      'ERR_FIREWALL_CONFIRM',
      'nobody confirmed the rules: what was there before is back',
      { hint: 'press Enter in time, if you still can' },
    );
  }
}

async function report(firewall: HostFirewall): Promise<void> {
  const { backend, table, notEnforced } = await firewall.status();
  const title = backend === 'nft' ? `table inet ${table}` : `set of chains ${table} (${backend})`;
  process.stdout.write(backend === 'none' ? '' : `${title} is in force\n`);
  for (const sentence of notEnforced) process.stdout.write(`not enforced: ${sentence}\n`);
  for (const line of renderHostPaths(await firewall.testPaths())) process.stdout.write(`${line}\n`);
}

/** Whoever is cut off by the rules cannot press a key. */
async function isConfirmed(seconds: number, isEnded: Promise<string>): Promise<boolean> {
  process.stderr.write(`press Enter within ${seconds} s to keep them\n`);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), seconds * 1000);
  void isEnded.then(() => resolve(false));
  // What stands before the end of a line may be without end: it is not kept.
  process.stdin.on('data', (some: Buffer) => {
    if (some.includes('\n')) resolve(true);
  });
  process.stdin.on('error', () => resolve(false));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    process.stdin.destroy(); // else it is waited for
  }
}

async function remove(target: string): Promise<void> {
  const network = /^[a-z][a-z0-9_]{0,14}$/.test(target) ? target : optionsOf(target).policy.network;
  await HostFirewall.remove({ network, runDirectory: runDirectory() });
  process.stdout.write(`network ${network} has no rules on this host\n`);
}

async function diff(file: string): Promise<void> {
  const { policy, facts } = await resolvedOptionsOf(file);
  const lines = await compareWithHost(policy, facts);
  process.stdout.write(lines.length === 0 ? 'no difference\n' : `${lines.join('\n')}\n`);
}

function optionsOf(file: string): HostFirewallOptions {
  const config: NodeConfig = loadConfig(file);
  const policy = config.firewall?.host;
  if (policy === null || policy === undefined) {
    throw new UsageError('ERR_USAGE', `${file} says nothing of the host's rules`, {
      hint: 'write firewall: {version: 1, host: {}} for those that guard the overlay',
    });
  }
  return {
    policy,
    facts: hostFacts(config),
    log: createLog({ level: 'silent' }),
    runDirectory: runDirectory(),
  };
}

/** With what the names of its rows stand for, which is asked. */
async function resolvedOptionsOf(file: string): Promise<HostFirewallOptions> {
  const options = optionsOf(file);
  const { policy, facts } = options;
  const saved = HostFirewall.savedNames(policy.network, options.runDirectory);
  const names = new RuleNames(processNames(policy), facts.resolved, saved);
  await names.ask();
  return { ...options, facts: { ...facts, resolved: names.resolved } };
}

function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= MOST_CONFIRM_SECONDS) return seconds;
  throw new UsageError(
    'ERR_USAGE',
    `"${value}" is not a number of seconds from 1 to ${MOST_CONFIRM_SECONDS}`,
  );
}
