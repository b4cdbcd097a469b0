// The offloads: batches that the host takes and gives in one call. Their names in the file and in the environment, and
// which of them a node is to use.

import { UsageError } from '../errors.ts';
import { quote } from './quote.ts';

/** Trains of datagrams out (UDP_SEGMENT) and in (UDP_GRO); superpackets of TCP (TSO) and of UDP (USO) at the TUN device. */
export const OFFLOADS = ['udpGso', 'udpGro', 'tunTcp', 'tunUdp'] as const;
export type Offload = (typeof OFFLOADS)[number];

/** How each is written in the file; in the environment a hyphen does as well. */
export const OFFLOAD_KEYS = {
  udpGso: 'udp_gso',
  udpGro: 'udp_gro',
  tunTcp: 'tun_tcp',
  tunUdp: 'tun_udp',
} as const satisfies Record<Offload, string>;

/** Which are to be used; one that is missing stays as the file has it. */
export type OffloadSwitches = Partial<Readonly<Record<Offload, boolean>>>;

/** The variable of the environment that wins over the file. */
const VARIABLE = 'RINGFENCE_OFFLOADS';

/**
 * The switches in `RINGFENCE_OFFLOADS`: words with commas between them, each in its turn. `all` and `none` mean every
 * offload, `+NAME` one on, `-NAME` one off.
 * @throws UsageError `ERR_USAGE` for any other word
 */
export function environmentOffloads(environment: NodeJS.ProcessEnv = process.env): OffloadSwitches {
  const text = environment[VARIABLE] ?? '';
  if (text.trim() === '') return {};
  return Object.fromEntries(text.split(',').flatMap((word) => Object.entries(parseWord(word.trim()))));
}

function parseWord(word: string): OffloadSwitches {
  if (word === 'all' || word === 'none') {
    return Object.fromEntries(OFFLOADS.map((offload) => [offload, word === 'all']));
  }
  const key = word.slice(1).replaceAll('-', '_');
  const offload = OFFLOADS.find((one) => OFFLOAD_KEYS[one] === key);
  const [sign = ''] = word;
  if (offload !== undefined && '+-'.includes(sign)) return { [offload]: sign === '+' };
  throw new UsageError('ERR_USAGE', `${VARIABLE}: ${quote(word)} switches nothing`, {
    hint: `write all, none, or names with a sign, as in -udp-gso,+tun-udp; the names are ${Object.values(OFFLOAD_KEYS).join(', ')}`,
  });
}
