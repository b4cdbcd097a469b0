// container-cases.ts by nft; by both kinds of iptables in test/slow.

import { containerCases } from './container-cases.ts';

containerCases('nft', 'nft');
