// What a user asks `ringfence bench` for → the settings of a plan. Texts go in, problems come out in words; reads nothing.

import type { MetricId } from './plan.ts';
import { METRIC_IDS } from './plan.ts';
import { OWN_NAME, PROGRAM_NAMES } from './programs.ts';

/** As {@link Parsed} of address/, for options. */
export type Read<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

const refuse = (problem: string): Read<never> => ({ ok: false, problem });

/** The smallest carries the largest datagram measured; the largest leaves room for WireGuard on a wire of 65,535. */
const MTU_RANGE = [1280, 65_455] as const;

/** A whole number from `least` to `most`. */
export function readCount(text: string, least: number, most: number): Read<number> {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  return value >= least && value <= most
    ? { ok: true, value }
    : refuse(`"${text}" is not a whole number from ${least} to ${most}`);
}

/** `1420,9000`. */
export function readMtus(text: string): Read<readonly number[]> {
  const mtus: number[] = [];
  for (const part of text.split(',')) {
    const mtu = readCount(part.trim(), ...MTU_RANGE);
    if (!mtu.ok) return mtu;
    if (!mtus.includes(mtu.value)) mtus.push(mtu.value);
  }
  return { ok: true, value: mtus };
}

/** `wireguard-go,boringtun-cli`; ours comes first, named or not. */
export function readPeers(text: string): Read<readonly string[]> {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !PROGRAM_NAMES.includes(name));
  if (unknown !== undefined)
    return refuse(`there is no peer "${unknown}": there are ${PROGRAM_NAMES.join(', ')}`);
  return { ok: true, value: [OWN_NAME, ...names.filter((name) => name !== OWN_NAME)] };
}

/** Ids of metrics, or what they begin with up to a point: `tcp1,udp64.loss`. */
export function readMetrics(text: string): Read<readonly MetricId[]> {
  const wanted = text.split(',').map((part) => part.trim());
  const meets = (id: string, part: string): boolean => id === part || id.startsWith(`${part}.`);
  const unknown = wanted.find((part) => !METRIC_IDS.some((id) => meets(id, part)));
  if (unknown !== undefined)
    return refuse(`there is no metric "${unknown}": there are ${METRIC_IDS.join(', ')}`);
  return { ok: true, value: METRIC_IDS.filter((id) => wanted.some((part) => meets(id, part))) };
}
