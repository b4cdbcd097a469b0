// What a lane has counted of peers, there and back as bytes.

import { expect, test } from 'vitest';
import type { LanePeerStatus } from '../../../src/lane/messages.ts';
import { packPeers, unpackPeers } from '../../../src/lane/peer-records.ts';

const NOBODY: LanePeerStatus = {
  id: 1,
  endpoint: null,
  rxBytes: 0n,
  txBytes: 0n,
  lastHandshakeMs: null,
  isMadeWithOther: false,
};

test.each([
  { name: 'none', peers: [] },
  { name: 'one that was never heard', peers: [NOBODY] },
  {
    name: 'the largest of everything, beside an IPv4 endpoint',
    peers: [
      {
        id: 0xffff_ffff,
        endpoint: { address: new Uint8Array(16).fill(0xfe), port: 65_535, scope: 0xffff_ffff },
        rxBytes: 2n ** 64n - 1n,
        txBytes: 2n ** 64n - 1n,
        lastHandshakeMs: Number.MAX_SAFE_INTEGER,
        isMadeWithOther: true,
      },
      {
        ...NOBODY,
        endpoint: { address: Uint8Array.of(192, 0, 2, 1), port: 1, scope: 0 },
        lastHandshakeMs: 0,
      },
    ],
  },
])('$name', ({ peers }) => expect(unpackPeers(packPeers(peers))).toEqual(peers));
