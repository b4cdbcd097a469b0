// overlay-cases.ts by nft and by one kind of iptables; by the other one in test/slow.

import { overlayCases } from './overlay-cases.ts';

overlayCases('nft');
overlayCases('iptables-legacy');
