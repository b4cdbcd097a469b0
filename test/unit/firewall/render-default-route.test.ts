// The rules beside a default route, as text. That hosts take them, and what they do, is shown with packets in test/interop.

import { expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../../src/address/ip.ts';
import {
  renderIptablesGuard,
  renderIptablesRemoval,
  renderNftGuard,
} from '../../../src/firewall/render-default-route.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.value;
};
const V4 = {
  interface: 'wg0',
  version: 4,
  addresses: [ip('10.9.0.1'), ip('10.9.1.1')],
  mark: 51820,
} as const;

test('nft, IPv4 and IPv6', () => {
  expect(renderNftGuard(V4)).toMatchInlineSnapshot(`
    "table ip wg-quick-wg0 {
      chain preraw {
        type filter hook prerouting priority -300;
        iifname != "wg0" ip daddr 10.9.0.1 fib saddr type != local drop
        iifname != "wg0" ip daddr 10.9.1.1 fib saddr type != local drop
      }
      chain premangle {
        type filter hook prerouting priority -150;
        meta l4proto udp meta mark set ct mark
      }
      chain postmangle {
        type filter hook postrouting priority -150;
        meta l4proto udp mark 51820 ct mark set mark
      }
    }
    "
  `);
  expect(renderNftGuard({ ...V4, version: 6, addresses: [ip('fd09::1')] })).toContain(
    'table ip6 wg-quick-wg0 {\n  chain preraw {\n    type filter hook prerouting priority -300;\n    iifname != "wg0" ip6 daddr fd09::1 fib saddr type != local drop\n',
  );
});

test('iptables', () => {
  expect(renderIptablesGuard(V4)).toMatchInlineSnapshot(`
    "*raw
    -I PREROUTING ! -i wg0 -d 10.9.0.1 -m addrtype ! --src-type LOCAL -m comment --comment "wg-quick(8) rule for wg0" -j DROP
    -I PREROUTING ! -i wg0 -d 10.9.1.1 -m addrtype ! --src-type LOCAL -m comment --comment "wg-quick(8) rule for wg0" -j DROP
    COMMIT
    *mangle
    -I POSTROUTING -p udp -m mark --mark 51820 -m comment --comment "wg-quick(8) rule for wg0" -j CONNMARK --save-mark
    -I PREROUTING -p udp -m comment --comment "wg-quick(8) rule for wg0" -j CONNMARK --restore-mark
    COMMIT
    "
  `);
});

test("a removal takes our own rules and nobody else's", () => {
  const saved = `# Generated
*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 10.9.0.1/32 ! -i wg0 -m comment --comment "wg-quick(8) rule for wg0" -j DROP
-A PREROUTING -d 10.8.0.1/32 ! -i wg1 -m comment --comment "wg-quick(8) rule for wg1" -j DROP
COMMIT
`;
  expect(renderIptablesRemoval(saved, 'wg0')).toBe(
    '*raw\n-D PREROUTING -d 10.9.0.1/32 ! -i wg0 -m comment --comment "wg-quick(8) rule for wg0" -j DROP\nCOMMIT\n',
  );
  expect(renderIptablesRemoval(saved, 'wg')).toBeNull();
});
