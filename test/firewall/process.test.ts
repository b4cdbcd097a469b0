// process-cases.ts by nft and by one kind of iptables; by the other one in test/slow.

import { processCases } from './process-cases.ts';

processCases('nft', 'iptables-legacy');
