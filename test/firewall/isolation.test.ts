// isolation-cases.ts by nft; by both kinds of iptables in test/slow.

import { isolationCases } from './isolation-cases.ts';

isolationCases('nft');
