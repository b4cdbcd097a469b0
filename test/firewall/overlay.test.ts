// overlay-cases.ts by nft; by iptables in test/slow.

import { overlayCases } from './overlay-cases.ts';

overlayCases('nft');
