// The keys about the host as texts, to say what is different between two files.

import { type IpAddress, renderIp } from '../../address/ip.ts';
import type { HostPolicy } from '../../policy/host.ts';

/** Of each key the items that it lists, as the diff of two files shows them. */
export const HOST_ROWS: readonly {
  readonly key: string;
  readonly values: (host: HostPolicy) => readonly string[];
}[] = [
  { key: 'network', values: ({ network }) => [network] },
  {
    key: 'host',
    values: ({ backend, stance, onStop, forwarding }) => [
      `backend: ${backend}`,
      `stance: ${stance}`,
      `on_stop: ${onStop}`,
      `forwarding: ${forwarding}`,
    ],
  },
  { key: 'host.inbound', values: ({ inbound }) => inbound.map(shown) },
  { key: 'leak_guard', values: ({ leakGuard }) => [shown(leakGuard)] },
  { key: 'nat.masquerade', values: ({ masquerade }) => masquerade.map(shown) },
  { key: 'nat.snat', values: ({ snat }) => snat.map(shown) },
  { key: 'nat.publish', values: ({ publish }) => publish.map(shown) },
  { key: 'nat.one_to_one', values: ({ oneToOne }) => oneToOne.map(shown) },
  { key: 'process', values: ({ process }) => process.map(shown) },
  { key: 'mss', values: ({ clampsMss }) => [clampsMss ? 'auto' : 'off'] },
];

/** A row on one line, addresses as text. */
function shown(row: object): string {
  return JSON.stringify(row, (_, value: unknown) => (isAddress(value) ? renderIp(value) : value));
}

function isAddress(value: unknown): value is IpAddress {
  return typeof value === 'object' && value !== null && 'bytes' in value && value.bytes instanceof Uint8Array;
}
