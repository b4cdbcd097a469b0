// Run in a host: sends COUNT trains of LENGTH bytes to ADDRESS PORT, in datagrams of SEGMENT bytes, each train by one
// UDP_SEGMENT send, as programs that speak QUIC do. Node.js has no call for that.

import { isIPv6 } from 'node:net';
import { BatchIo, DATAGRAM_ENTRY_BYTES, openEvent, openUdp } from 'node-tuntap2';
import { parseIp } from '../../src/address/ip.ts';

const [address = '', ...numbers] = process.argv.slice(2);
const [port = 0, count = 0, lengthBytes = 0, segmentBytes = 0] = numbers.map(Number);
const family = isIPv6(address) ? 6 : 4;
const remote = parseIp(address);
if (!remote.ok) throw new Error(`${address} is no address`);

const { fd } = openUdp({ family, port: 0 });
const memory = new ArrayBuffer(count * DATAGRAM_ENTRY_BYTES + lengthBytes);
const view = new DataView(memory);
for (let train = 0; train < count; train += 1) {
  const at = train * DATAGRAM_ENTRY_BYTES; // native/src/columns.h has the fields
  view.setUint32(at, count * DATAGRAM_ENTRY_BYTES, true);
  view.setUint32(at + 4, lengthBytes, true);
  view.setUint32(at + 20, segmentBytes, true);
  view.setUint16(at + 24, family, true);
  view.setUint16(at + 26, port, true);
  new Uint8Array(memory, at + 32, 16).set(remote.value.bytes);
}
const io = new BatchIo({
  tun: openEvent(), // there is none, and nothing is waited for
  [family === 4 ? 'udp4' : 'udp6']: fd,
  event: openEvent(),
  ...{ receiveColumn: 0, receiveSlots: 1, readColumn: 0, readSlots: 1, writeColumn: 0, writeSlots: 1 },
  sendColumn: 0,
  sendSlots: count,
});
const sent = io.sendUdp(memory, count);
if (sent !== count) throw new Error(`${sent} of ${count} trains left: ${JSON.stringify(io.faults())}`);
