// Packets of a user of this host: received by a socket, or refused with a reason.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { SystemCallError, sendPacketAs } from '../index.ts';

/** IPv4 with UDP from port 9 to this one, without a checksum of UDP (RFC 768 has 0 for that); the kernel makes the other. */
function datagram(port: number, text: string): Uint8Array {
  const udp = Buffer.alloc(8 + text.length);
  udp.writeUInt16BE(9, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.write(text, 8);
  const ip = Buffer.from([0x45, 0, 0, 20 + udp.length, 0, 1, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
  return Buffer.concat([ip, udp]);
}

it.each([0, ...(process.env['RINGFENCE_TEST_ROOTLESS'] === '1' ? [] : [65_534])])(
  'a packet of user %i arrives, and the thread is who it was',
  async (uid) => {
    const receiver = createSocket('udp4').bind(0, '127.0.0.1');
    try {
      await once(receiver, 'listening');
      const received = once(receiver, 'message');
      sendPacketAs(uid, datagram(receiver.address().port, 'hello'));
      const [message, { port }] = (await received) as [Buffer, { port: number }];
      expect([message.toString(), port]).toEqual(['hello', 9]);
      expect(process.getuid?.()).toBe(0);
      sendPacketAs(0, datagram(receiver.address().port, 'again'));
    } finally {
      receiver.close();
    }
  },
);

it('says why there is no packet', () => {
  for (const packet of [
    new Uint8Array(0),
    new Uint8Array(19),
    new Uint8Array(39).fill(0x60, 0, 1),
    new Uint8Array(64),
  ]) {
    expect(() => sendPacketAs(0, packet)).toThrow(SystemCallError);
    expect(() => sendPacketAs(0, packet)).toThrow(/EINVAL/);
  }
  for (const uid of [-1, 0.5, 2 ** 32 - 1, 2 ** 32]) {
    expect(() => sendPacketAs(uid, datagram(1, ''))).toThrow(/uid/);
  }
  expect(() => sendPacketAs(0, new Uint8Array(1281))).toThrow(/1280 bytes/);
  expect(() => sendPacketAs(0, [] as unknown as Uint8Array)).toThrow(/Uint8Array/);
});
