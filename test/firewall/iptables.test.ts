// iptables-cases.ts by one kind of iptables; by the other one in test/slow.

import { iptablesCases } from './iptables-cases.ts';

iptablesCases('iptables-legacy');
