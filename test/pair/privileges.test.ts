// What rights the program keeps: `run --user` has those of the unit in every thread, and no core dump has memory of a node in it.

import { chmod, chown, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { ROOT } from '../support/markdown.ts';
import { NodeProcess, OVERLAY, Scratch, writePair } from '../support/node-process.ts';
import { direct } from '../support/topology.ts';
import { ping } from '../support/traffic.ts';

const NOBODY = 65_534;
/** CAP_NET_BIND_SERVICE and CAP_NET_ADMIN, by their numbers. */
const RIGHTS = ((1n << 10n) | (1n << 12n)).toString(16).padStart(16, '0');
const NONE = '0'.repeat(16);

/** As udev makes the device: whoever has CAP_NET_ADMIN may be any user. */
const TUN_FOR_ALL = `
mknod -m 666 /run/tun-for-all c 10 200 && mount --bind /run/tun-for-all /dev/net/tun && exec "$@"
`;

/** Of every thread: who it is, and what it may. */
async function rightsOf(pid: number): Promise<Record<string, string>[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  return await Promise.all(
    threads.map(async (thread) => {
      const text = await readFile(`/proc/${pid}/task/${thread}/status`, 'utf8');
      const lines = text.matchAll(/^(Uid|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):\t(.*)$/gm);
      return Object.fromEntries([...lines].map(([, name = '', value = '']) => [name, value]));
    }),
  );
}

async function giveToNobody(folder: string): Promise<void> {
  await chown(folder, NOBODY, NOBODY);
  for (const name of await readdir(folder)) await chown(join(folder, name), NOBODY, NOBODY);
}

test('run --user keeps two capabilities of root, carries packets, reloads, and takes back what it made', async () => {
  await using scratch = await Scratch.create();
  await using net = await direct();
  const files = await writePair(scratch.path, {
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
  });
  const unknown = ['run', '--user', 'no-such-user', files.left.configFile];
  const refused = await execa(join(ROOT, 'bin/ringfence'), unknown, { reject: false });
  expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('no user "no-such-user"') });
  await chmod(scratch.path, 0o755);
  await giveToNobody(files.left.directory);
  // Others may not look into the folder that holds this checkout, such as root's own.
  const program = '/run/checkout';
  await mkdir(program, { recursive: true });
  await execa('mount', ['--bind', ROOT, program]);
  const left = await NodeProcess.start(net.left, files.left, {
    inside: ['unshare', '--mount', 'bash', '-c', TUN_FOR_ALL, 'bash'],
    program: [join(program, 'bin/ringfence'), 'run', '--user', 'nobody'],
    env: { RINGFENCE_STATE_DIR: join(files.left.directory, 'state') },
  });
  await using right = await NodeProcess.start(net.right, files.right);

  const rights = await rightsOf(left.process.pid);
  expect(rights.length).toBeGreaterThan(5);
  const uid = Array(4).fill(NOBODY).join('\t');
  for (const thread of rights) {
    expect(thread).toEqual({
      Uid: uid,
      CapPrm: RIGHTS,
      CapEff: RIGHTS,
      CapBnd: RIGHTS,
      CapAmb: RIGHTS,
      NoNewPrivs: '1',
    });
  }
  expect((await rightsOf(right.process.pid))[0]).not.toMatchObject({ CapEff: NONE });
  for (const { process } of [left, right]) {
    expect(await readFile(`/proc/${process.pid}/coredump_filter`, 'utf8')).toBe('00000000\n');
  }
  expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
  // No right is needed to be told of the host's addresses.
  expect(left.process.output).not.toContain('addresses are seen within');
  expect(await left.command('reload')).toBe('nothing is different');
  expect(await left.stop()).toMatchObject({ code: 0 });
  const { code } = await net.left.try('ip', ['link', 'show', left.interfaceName]);
  expect(code).toBe(1);
});
