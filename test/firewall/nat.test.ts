// nat-cases.ts by nft and by one kind of iptables; by the other one in test/slow.

import { natCases } from './nat-cases.ts';

natCases('nft');
natCases('iptables-nft');
