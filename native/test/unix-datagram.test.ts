// Datagrams to Unix sockets, received by a program that is none of ours.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, expect, it } from 'vitest';
import { SystemCallError, sendUnixDatagram } from '../index.ts';

const folder = mkdtempSync(join(tmpdir(), 'node-tuntap2-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Binds the socket, says so, and prints the first datagram as JSON. */
const RECEIVER = `
import json, socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1].replace('@', chr(0), 1))
print('bound', flush=True)
print(json.dumps(receiver.recv(65536).decode()), flush=True)
`;

it.each([
  ['a path', join(folder, 'notify')],
  ['an abstract name', `@${folder}/notify`],
  ['the longest name', '@'.padEnd(107, 'x')],
])('reaches %s', async (_, address) => {
  const receiver = spawn('python3', ['-c', RECEIVER, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('bound');
    sendUnixDatagram(address, 'READY=1\nSTATUS=größer');
    expect((await lines.next()).value).toBe(
      JSON.stringify('READY=1\nSTATUS=größer').replace('ö', '\\u00f6').replace('ß', '\\u00df'),
    );
    await once(receiver, 'exit');
  } finally {
    receiver.kill();
  }
});

it.each([
  ['nobody', join(folder, 'nobody'), 'ENOENT'],
  ['nobody of that name', '@node-tuntap2-nobody', 'ECONNREFUSED'],
])('says so when %s has the socket', (_, address, code) => {
  expect(() => sendUnixDatagram(address, '')).toThrow(
    expect.objectContaining({ constructor: SystemCallError, code, syscall: 'sendto' }),
  );
});

it.each([
  ['', ''],
  ['x'.repeat(108), ''],
  ['@x', 'x'.repeat(4097)],
])('refuses what no socket takes', (address, text) => {
  expect(() => sendUnixDatagram(address, text)).toThrow(
    expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }),
  );
});
