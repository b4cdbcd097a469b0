// The host's rules of a configuration, as a process inside a namespace: a line of JSON on standard input asks, a line of JSON
// answers. What runs is the program's own engine, watch included. Driven by overlay-host.ts.

import { createInterface } from 'node:readline';
import { loadConfig } from '../../src/config/load.ts';
import { FirewallError, messageOf } from '../../src/errors.ts';
import { processNames } from '../../src/firewall/chains.ts';
import { HostFirewall, type HostFirewallOptions } from '../../src/firewall/host-firewall.ts';
import { createLog } from '../../src/log.ts';
import { hostFacts } from '../../src/node/host-facts.ts';
import { RuleNames } from '../../src/node/rule-names.ts';

type Request = {
  readonly id: number;
  readonly op: 'start' | 'update' | 'stop' | 'status' | 'resolve' | 'test';
  readonly file?: string;
  readonly names?: Readonly<Record<string, readonly string[]>>;
};

const [runDirectory = ''] = process.argv.slice(2);
let firewall: HostFirewall | undefined;

function optionsOf(file: string): HostFirewallOptions {
  const config = loadConfig(file);
  const policy = config.firewall?.host;
  if (policy === null || policy === undefined) throw new Error(`${file} has no rules of the host`);
  // Nobody is asked here: names stand for what they did, as in a node whose resolver fails.
  const saved = HostFirewall.savedNames(policy.network, runDirectory);
  const { resolved } = new RuleNames(processNames(policy), firewall?.facts.resolved ?? new Map(), saved);
  return { policy, facts: hostFacts(config, resolved), log: createLog(), runDirectory };
}

async function handle({ op, file = '', names = {} }: Request): Promise<unknown> {
  switch (op) {
    case 'start':
      firewall = await HostFirewall.start(optionsOf(file));
      return {};
    case 'update': {
      const options = optionsOf(file);
      if (firewall === undefined) firewall = await HostFirewall.start(options);
      else await firewall.update(options.policy, options.facts);
      return {};
    }
    case 'resolve': {
      const { parseIp } = await import('../../src/address/ip.ts');
      const resolved = Object.entries(names).map(([name, texts]) => {
        const addresses = texts.flatMap((text) => {
          const parsed = parseIp(text);
          return parsed.ok ? [parsed.value] : [];
        });
        return [name, addresses] as const;
      });
      await firewall?.setResolved(new Map(resolved));
      return {};
    }
    case 'stop':
      await firewall?.stop();
      return {};
    case 'test':
      return await firewall?.testPaths();
    case 'status':
      return await firewall?.status();
    default:
      return op satisfies never;
  }
}

// While a program runs execa listens to this signal, too. One that arrives as the last program ends would go with that listener.
process.on('SIGTERM', () => process.exit(143));
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request;
  try {
    process.stdout.write(`${JSON.stringify({ id: request.id, ok: await handle(request) })}\n`);
  } catch (error) {
    const failure = error instanceof FirewallError ? error.failure : null;
    process.stdout.write(`${JSON.stringify({ id: request.id, error: messageOf(error), failure })}\n`);
  }
}
process.exit(0);
