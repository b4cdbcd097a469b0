// Which tables and chains of iptables-nft were made for a network's rules, kept below the run directory: after the last network that uses
// one is gone, the host is as it was, also after a crash. Two networks share the tables that the first of them made.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Version } from './facts.ts';
import { IPTABLES_TABLES, type IptablesTableName } from './render-iptables.ts';

export interface Made {
  readonly version: Version;
  readonly table: IptablesTableName;
  /** null: the table itself. */
  readonly chain: string | null;
}

const SUFFIX = '.tables';

export class MadeTables {
  readonly #directory: string;
  readonly #file: string;

  constructor(runDirectory: string, network: string) {
    this.#directory = join(runDirectory, 'firewall');
    this.#file = `${network}${SUFFIX}`;
  }

  /** Adds to what is known: `4 raw`, `4 nat POSTROUTING`. */
  note(missing: readonly string[]): void {
    const all = [...new Set([...this.#lines(), ...missing])];
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    writeFileSync(join(this.#directory, this.#file), `${all.join('\n')}\n`, { mode: 0o600 });
  }

  /** Those that this network made, or another one that was there before it: chains, or whole tables. */
  list(): Made[] {
    return this.#lines().flatMap((line): Made[] => {
      const [version, name, chain = null] = line.split(' ');
      const table = IPTABLES_TABLES.find((one) => one === name);
      return table === undefined ? [] : [{ version: version === '6' ? 6 : 4, table, chain }];
    });
  }

  forget(): void {
    rmSync(join(this.#directory, this.#file), { force: true });
  }

  #lines(): string[] {
    if (!existsSync(this.#directory)) return [];
    const files = readdirSync(this.#directory).filter((name) => name.endsWith(SUFFIX));
    const lines = files.flatMap((name) => readFileSync(join(this.#directory, name), 'utf8').split('\n'));
    return [...new Set(lines.filter((line) => line !== ''))];
  }
}
