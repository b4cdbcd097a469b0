// Rules about cgroups, as text that was listed while others were there. That the kernel tells cgroups apart is test/firewall.

import { expect, test } from 'vitest';
import { withCgroupNumbers, withoutGoneInIptables, withoutGoneInNft } from '../../../src/firewall/cgroups.ts';

const NFT = `	chain rf_cgroup0 {
		socket cgroupv2 level 2 "rf-no-such.slice/b\\x2d.scope" return comment "cgroup 77"
		socket cgroupv2 level 1 5383 return comment "cgroup 5383"
		meta skuid != 4294967295 counter name "rf_process" reject
	}
`;

test('what is let pass to those of cgroups that are gone is left out, and everybody is refused', () => {
  expect(withoutGoneInNft(NFT)).toBe(`	chain rf_cgroup0 {
		meta skuid != 4294967295 counter name "rf_process" reject
	}
`);
  const rule = '-A RF-home0-USER -m owner --socket-exists';
  const gone = '-m cgroup ! --path rf-no-such.slice -m cgroup ! --path "rf-no-such.slice/b\\\\x2d.scope"';
  expect(withoutGoneInIptables(`${rule} ${gone} -j REJECT\n`)).toBe(`${rule} -j REJECT\n`);
});

test('a path that leads nowhere stays in a listing, and so does a number', () => {
  expect(withCgroupNumbers(NFT)).toBe(NFT);
});
