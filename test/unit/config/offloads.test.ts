// RINGFENCE_OFFLOADS → switches. What is refused, test/unit/cli/run.test.ts shows.

import { expect, test } from 'vitest';
import { environmentOffloads } from '../../../src/config/offloads.ts';

const all = (isOn: boolean) => ({ udpGso: isOn, udpGro: isOn, tunTcp: isOn, tunUdp: isOn });

test.each([
  { text: undefined, switches: {} },
  { text: ' ', switches: {} },
  { text: 'all', switches: all(true) },
  { text: 'none', switches: all(false) },
  { text: '-udp-gso', switches: { udpGso: false } },
  { text: '-tun_tcp, +udp-gro', switches: { tunTcp: false, udpGro: true } },
  { text: 'none,+tun-udp', switches: { ...all(false), tunUdp: true } },
  { text: '+tun-udp,none', switches: all(false) },
])('$text', ({ text, switches }) => {
  expect(environmentOffloads({ RINGFENCE_OFFLOADS: text })).toEqual(switches);
});
