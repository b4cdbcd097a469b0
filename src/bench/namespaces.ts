// The way into private namespaces (network, mounts, processes), where a measurement changes nothing of the machine. They end with
// the program that asked for them, however it ends, and so does every process inside.
//
//   ringfence bench ──▶ setpriv ──▶ unshare ──▶ sh: mounts ──▶ ringfence bench inside measure: process 1 of its namespace
//           pdeathsig KILL     --kill-child       when process 1 ends, the kernel kills everything left inside

import { readFileSync } from 'node:fs';
import { access, constants, open } from 'node:fs/promises';
import { getuid } from 'node:process';
import { execa } from 'execa';
import { messageOf, RingfenceError } from '../errors.ts';
import { LineProcess } from './line-process.ts';

const TUN = '/dev/net/tun';

/** An empty /run, so that `ip netns add` works and touches nothing of the host, and a folder for temporary files in it. */
const PREPARE =
  'mount -n -t tmpfs -o mode=0755 tmpfs /run && mkdir -m 1777 /run/tmp /run/lock && ip link set lo up && exec "$@"';

/** Without root, or where a test asks for it, a user namespace comes first: in it we are root. */
function unshareCommand(): string[] {
  const kinds = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const isRootless = getuid?.() !== 0 || process.env['RINGFENCE_ROOTLESS'] === '1';
  return ['unshare', ...(isRootless ? ['--user', '--map-root-user'] : []), ...kinds];
}

/**
 * Fails unless this machine allows private namespaces and TUN devices.
 * @throws RingfenceError `ERR_BENCH_MACHINE`
 */
export async function checkMachine(): Promise<void> {
  await access(TUN, constants.F_OK).catch((cause: unknown) => {
    throw new RingfenceError('ERR_BENCH_MACHINE', `there is no ${TUN}`, {
      hint: `run \`modprobe tun\` as root, or start the container with --device ${TUN}`,
      cause,
    });
  });
  try {
    await (await open(TUN, 'r+')).close();
  } catch (cause) {
    throw new RingfenceError('ERR_BENCH_MACHINE', `${TUN} cannot be opened: ${messageOf(cause)}`, {
      hint: `run this as root, or \`chmod 0666 ${TUN}\` as root`,
      cause,
    });
  }
  const [unshare = '', ...flags] = unshareCommand();
  const probe = await execa(unshare, [...flags, 'true'], { reject: false });
  if (!probe.failed) return;
  const reason = probe.stderr.split('\n')[0] || probe.shortMessage;
  throw new RingfenceError('ERR_BENCH_MACHINE', `private namespaces are forbidden here: ${reason}`, {
    hint: 'run it as root, or allow user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns',
  });
}

/** Runs a command in private namespaces, with `input` on its standard input. {@link killNamespaces} ends all of it. */
export function startInNamespaces(command: readonly string[], input: string): LineProcess {
  const inside = [...unshareCommand(), '--', 'sh', '-c', PREPARE, 'sh', ...command];
  return new LineProcess('setpriv', ['--pdeathsig', 'KILL', ...inside], {
    input,
    env: {
      PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`,
      TMPDIR: '/run/tmp',
      RINGFENCE_STATE_DIR: '/run/ringfence-state',
      RINGFENCE_TEST_NAMESPACE: '1',
    },
  });
}

/**
 * Kills the first process inside: the kernel takes every other with it, the namespaces go with the last, and unshare, whose child
 * it is, ends for its part. Before there is one, unshare itself is killed.
 */
export function killNamespaces(started: LineProcess): void {
  if (started.hasExited) return;
  try {
    const children = readFileSync(`/proc/${started.pid}/task/${started.pid}/children`, 'utf8');
    const first = Number(children.split(' ')[0]);
    if (first > 0) process.kill(first, 'SIGKILL');
    else started.signal('SIGKILL');
  } catch {
    started.signal('SIGKILL'); // it ended in between, or /proc does not list children
  }
}
