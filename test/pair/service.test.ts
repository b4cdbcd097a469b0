// What a service manager is told: a real one's socket, in the order that systemd needs.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { generateKeyPair } from '../support/keys.ts';
import { NodeProcess, Scratch, writeNode } from '../support/node-process.ts';
import { routed } from '../support/topology.ts';

/** Prints `bound`, and then each datagram as JSON. */
const MANAGER = `
import json, socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print('bound', flush=True)
while True: print(json.dumps(receiver.recv(65536).decode().split(chr(10))), flush=True)
`;

test('ready, reloading and ready again, stopping', async () => {
  await using scratch = await Scratch.create();
  await using net = await routed();
  const socket = join(scratch.path, 'notify');
  await using manager = net.left.spawn('python3', ['-c', MANAGER, socket]);
  await manager.line(/bound/, 10_000);
  const files = await writeNode(scratch.path, generateKeyPair(), {
    interface: {
      name: 'rf0',
      private_key_file: 'rf0.key',
      addresses: ['10.9.0.1/24'],
      listen_port: 7,
      mtu: 1400,
    },
    peers: {},
  });
  await using node = await NodeProcess.start(net.left, files, { env: { NOTIFY_SOCKET: socket } });
  await manager.line(/^\["READY=1", "STATUS=UDP port 7, MTU 1400, 0 peers"\]$/, 10_000);

  /** What it is told from a SIGHUP to the next READY=1. */
  const toldAtHangup = async (): Promise<string[]> => {
    const from = manager.lines.length;
    node.process.signal('SIGHUP');
    await manager.line(/READY=1/, 10_000, from);
    return manager.lines.slice(from).map(({ text }) => text);
  };
  const twice = [
    expect.stringMatching(/^\["RELOADING=1", "MONOTONIC_USEC=\d+"\]$/),
    expect.stringMatching(/^\["READY=1", "STATUS=/),
  ];
  expect(await toldAtHangup()).toEqual(twice);
  await writeFile(files.configFile, 'interface: 5'); // a bad file takes no node down
  expect(await toldAtHangup()).toEqual(twice);

  expect(await node.stop()).toMatchObject({ code: 0 });
  await manager.line(/^\["STOPPING=1"\]$/, 10_000);
});

test('a manager that is gone ends no node', async () => {
  await using scratch = await Scratch.create();
  await using net = await routed();
  const files = await writeNode(scratch.path, generateKeyPair(), {
    interface: { name: 'rf0', private_key_file: 'rf0.key', addresses: ['10.9.0.1/24'] },
    peers: {},
  });
  const env = { NOTIFY_SOCKET: join(scratch.path, 'nobody') };
  await using node = await NodeProcess.start(net.left, files, { env });
  await node.process.line(/the service manager cannot be told READY=1: .*ENOENT/, 10_000);
  expect((await node.status()).interface.name).toBe('rf0');
});
