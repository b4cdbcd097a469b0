// The packet cases of the host's rules by the kinds of iptables that npm test leaves out.
import { natCases } from '../firewall/nat-cases.ts';
import { overlayCases } from '../firewall/overlay-cases.ts';

natCases('iptables-legacy');
overlayCases('iptables-nft');
