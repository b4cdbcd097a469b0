// The policy as the status page shows it: who may reach what. It is judged once for a policy and the addresses of the host,
// row by row between other work of the node, and not at all where that would take long.

import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type IpAddress, renderIp } from '../address/ip.ts';
import type { NodeConfig } from '../config/schema.ts';
import type { MatrixTable } from '../control/matrix-table.ts';
import type { PolicyView } from '../control/status-page.ts';
import { Evaluator } from '../policy/evaluate.ts';
import { columnsOf, matrixOf, questionCount, rowsOf } from '../policy/matrix.ts';
import type { Policy } from '../policy/model.ts';
import { hostAddresses } from './host-addresses.ts';

/** Nobody reads more in a browser; also what is cheap to count before it is counted. */
const MOST_ROWS = 30;
/** About a second of judging. */
const MOST_QUESTIONS = 30_000;

interface Judged {
  readonly policy: Policy;
  /** Of the host, as text. */
  readonly addresses: string;
  readonly matrix: Promise<MatrixTable | null>;
}

export class ServedPolicy {
  #judged: Judged | undefined;

  /** null: the file has no section `firewall`. */
  async view({ firewall, file }: NodeConfig): Promise<PolicyView | null> {
    if (firewall === null) return null;
    const { policy } = firewall;
    const own = hostAddresses();
    const addresses = own.map(renderIp).sort().join();
    if (this.#judged?.policy !== policy || this.#judged.addresses !== addresses) {
      this.#judged = { policy, addresses, matrix: judge(policy, own) };
    }
    return { file: resolve(file), matrix: await this.#judged.matrix };
  }
}

async function judge(policy: Policy, own: readonly IpAddress[]): Promise<MatrixTable | null> {
  if (policy.peers.length + policy.sites.length > MOST_ROWS) return null;
  const [rows, columns] = [rowsOf(policy), columnsOf(policy)];
  if (rows.length * questionCount(policy, columns) > MOST_QUESTIONS) return null;
  const evaluator = new Evaluator(policy, own);
  const cells: MatrixTable['cells'][number][] = [];
  for (const row of rows) {
    await setImmediate();
    cells.push(...matrixOf(policy, evaluator, [row], columns).cells);
  }
  return { rows, columns, cells };
}
