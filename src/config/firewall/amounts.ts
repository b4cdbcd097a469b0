// Rates and quotas as people write them.

import type { Parsed } from '../../address/ip.ts';
import type { Quota } from '../../policy/model.ts';

/** Decimal, as network hardware counts. */
const BITS: Readonly<Record<string, number>> = { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 };
const BYTES: Readonly<Record<string, number>> = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
const PERIODS: readonly Quota['period'][] = ['day', 'week', 'month'];

/** Below this not even one full packet a second would pass: 1500 bytes. */
const LEAST_RATE_BITS = 12_000;
/** More than any host carries, and what the core can count with. */
const MOST_RATE_BITS = 1e12;

export interface QuotaAmount {
  readonly bytes: number;
  readonly period: Quota['period'];
}

/** Reads `20mbit` or `1.5gbit` as bytes per second. */
export function parseRate(text: string): Parsed<number> {
  const bits = amount(text, BITS);
  if (bits === null) return refuse(`it is a number and one of ${Object.keys(BITS).join(', ')}`);
  if (bits < LEAST_RATE_BITS)
    return refuse(`below ${LEAST_RATE_BITS / 1000}kbit no packet of full size would pass`);
  if (bits > MOST_RATE_BITS) return refuse(`it is at most ${MOST_RATE_BITS / 1e9}gbit`);
  return { ok: true, value: Math.floor(bits / 8) };
}

/** Reads `50GB/month`. */
export function parseQuota(text: string): Parsed<QuotaAmount> {
  const [bytesText = '', periodText = '', ...more] = text.split('/');
  const bytes = amount(bytesText, BYTES);
  const period = PERIODS.find((name) => name === periodText);
  if (bytes === null || bytes < 1 || period === undefined || more.length > 0) {
    return refuse(
      `it is a number with one of ${Object.keys(BYTES).join(', ')}, and per ${PERIODS.join(', ')}`,
    );
  }
  return { ok: true, value: { bytes: Math.floor(bytes), period } };
}

function amount(text: string, units: Readonly<Record<string, number>>): number | null {
  const [, number = '', unit = ''] = /^([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([a-zA-Z]+)$/.exec(text) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  return number === '' || factor === undefined ? null : Number(number) * factor;
}

function refuse(problem: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem };
}
