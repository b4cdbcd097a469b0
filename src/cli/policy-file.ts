// The policy of a file, for commands that only explain it, on the host where they run.

import { loadConfig } from '../config/load.ts';
import { quote } from '../config/quote.ts';
import { UsageError } from '../errors.ts';
import { hostAddresses } from '../node/host-addresses.ts';
import { Evaluator } from '../policy/evaluate.ts';
import type { Policy } from '../policy/model.ts';
import { type End, endOf } from '../policy/path.ts';

export interface OpenedPolicy {
  readonly policy: Policy;
  /** With the addresses that this host has now. */
  readonly evaluator: Evaluator;
}

/** @throws ConfigError; UsageError `ERR_USAGE` for a file without a policy */
export function openPolicy(file: string): OpenedPolicy {
  const { firewall } = loadConfig(file);
  if (firewall === null) {
    throw new UsageError(
      'ERR_USAGE',
      `${file} has no section firewall: every peer may reach everything, as with plain WireGuard`,
      { hint: 'add one, as in firewall: {version: 1}, and nothing is allowed that it does not grant' },
    );
  }
  return { policy: firewall.policy, evaluator: new Evaluator(firewall.policy, hostAddresses()) };
}

/** @throws UsageError `ERR_USAGE` for a name that the policy does not have */
export function readEnd(policy: Policy, text: string): End {
  const end = endOf(policy, text);
  if (end !== null && end.addresses.length > 0) return end;
  const problem = end === null ? 'is no name of this policy' : 'has no address';
  throw new UsageError('ERR_USAGE', `${quote(text)} ${problem}`, {
    hint: 'give the name of a peer or service, site:NAME, self, internet, or an address',
  });
}
