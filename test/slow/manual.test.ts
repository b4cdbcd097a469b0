// What the manual shows of whole programs: the demo of README.md, the programs of native/README.md and CONTRIBUTING.md.

import { writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { blocksOf, ROOT } from '../support/markdown.ts';
import { NodeProcess, OVERLAY, Scratch, writePair } from '../support/node-process.ts';
import { direct, routed } from '../support/topology.ts';
import { NODE, ping } from '../support/traffic.ts';

/** What differs from run to run is left out: times, amounts, keys. */
function lasting(text: string): string[] {
  return text
    .split('\n')
    .map((line) =>
      line
        .replaceAll(/[A-Za-z0-9+/]{43}=|\b[0-9a-f]{8,}…|[\d.]+( [KMG]iB)?/g, '#')
        .replaceAll(/\s+/g, ' ')
        .trim(),
    )
    .filter((line) => line !== '');
}

test('README.md shows the demo as it prints today', async () => {
  const shown = blocksOf('README.md').find(({ language }) => language === 'console');
  const { stdout } = await execa(NODE, [join(ROOT, 'scripts/demo.ts')], { env: { NO_COLOR: '1' } });
  expect(lasting(stdout)).toEqual(lasting(shown?.text.replace(/^\$.*\n/, '') ?? ''));
});

test('the program of native/README.md sends what enters its tunnel, until the tunnel is gone', async () => {
  await using net = await direct();
  await using scratch = await Scratch.create();
  const [program] = blocksOf('native/README.md').filter(({ language }) => language === 'ts');
  const file = join(scratch.path, 'relay.ts');
  await writeFile(
    file,
    program?.text.replace("'node-tuntap2'", JSON.stringify(join(ROOT, 'native/index.ts'))) ?? '',
  );
  await net.right.ip('address', 'add', '192.0.2.1/24', 'dev', 'eth0'); // where the program sends to
  const relay = net.left.spawn(NODE, [file]);
  await expect.poll(() => net.left.try('ip', ['link', 'set', 'relay0', 'up'])).toMatchObject({ code: 0 });
  await net.left.ip('address', 'add', '10.9.0.1/24', 'dev', 'relay0');
  await using sink = net.right.spawn(NODE, ['-e', SINK]);
  await sink.line(/^bound$/, 10_000);
  await net.left.try('ping', ['-c', '1', '-W', '1', '10.9.0.2']);
  await sink.line(/^packet of IPv4$/, 10_000);
  await net.left.ip('link', 'delete', 'relay0');
  expect(await relay.exited).toMatchObject({ code: 0 });
});

const SINK = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (message) => console.log(message[0] === 0x45 ? 'packet of IPv4' : 'something else'));
socket.bind(7000, '192.0.2.1', () => console.log('bound'));
`;

test('the test of CONTRIBUTING.md passes', async () => {
  const [block] = blocksOf('CONTRIBUTING.md').filter(({ language }) => language === 'ts');
  const given = { Scratch, routed, writePair, OVERLAY, NodeProcess, ping, expect, test: run };
  const body = `return ${stripTypeScriptTypes(block?.text ?? '')}`;
  await (new Function(...Object.keys(given), body)(...Object.values(given)) as Promise<void>);
});

async function run(_: string, test: () => Promise<void>): Promise<void> {
  await test();
}
