// `ringfence bench aead`: the AEAD of the core beside OpenSSL's.

import type { Command } from 'commander';
import { AEAD_SIZES, type AeadResult, measureAead } from '../bench/aead.ts';
import type { Spread } from '../bench/result.ts';
import { roundsOption, showProgress } from './bench-progress.ts';
import { alignColumns } from './table.ts';

export function registerBenchAead(bench: Command): void {
  bench
    .command('aead')
    .summary("the core's ChaCha20-Poly1305 beside OpenSSL's")
    .description(
      `Seals and opens messages of ${AEAD_SIZES.join(', ')} bytes with the core's AEAD and with OpenSSL's in turn.\n` +
        'Uses the program `openssl`; without it, the OpenSSL of Node.js.',
    )
    .option('--rounds <n>', 'how often each is measured', roundsOption, 3)
    .option('--json', 'print JSON')
    .action(async ({ rounds, json }: { rounds: number; json?: boolean }) => {
      const progress = showProgress();
      const result = await measureAead({ rounds, sizes: AEAD_SIZES }, progress.show);
      progress.end();
      process.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : render(result));
    });
}

function render({ rows, openssl, rounds }: AeadResult): string {
  const head = ['', 'BYTES', 'WASM GB/s', 'min…max', 'OPENSSL GB/s', 'min…max', 'RATIO', 'min…max'];
  const cells = rows.map(({ direction, bytes, wasm, openssl: other, ratio }) => [
    direction,
    String(bytes),
    ...[wasm, other, ratio].flatMap((spread) => [spread.median.toFixed(2), range(spread)]),
  ]);
  const note = `${rounds} rounds, CPU time; medians. ${openssl.version}: ${openssl.method}`;
  return `${[...alignColumns([head, ...cells]), '', note].join('\n')}\n`;
}

function range({ minimum, maximum }: Spread): string {
  return `${minimum.toFixed(2)}…${maximum.toFixed(2)}`;
}
