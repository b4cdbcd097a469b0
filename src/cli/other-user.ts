// `--user NAME`: root hands over to another user, with the two capabilities that a node needs and no other. Capabilities are of threads,
// and Node.js has several before the first line of ours runs: so this process becomes setpriv(1), which becomes this program
// again, with the same number and in every thread without the rights of root.

import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync } from 'node:fs';
import { ownProgram } from '../bench/own-program.ts';
import { runDirectory } from '../control/node-socket.ts';
import { UAPI_DIRECTORY } from '../control/uapi/server.ts';
import { UsageError } from '../errors.ts';
import { stateDirectory } from '../node/handshake-clock.ts';

const SETPRIV = '/usr/bin/setpriv'; // of util-linux
/** Interfaces, addresses, routes and rules; and ports below 1024, such as that of names. */
const CAPABILITIES = '-all,+net_admin,+net_bind_service';

/**
 * Returns as `user`, at once if this process is theirs already; else only root can, and starts over. The folders of sockets and state become theirs.
 * @throws UsageError `ERR_USAGE`: there is no such user, this is not root, or there is no setpriv
 */
export function becomeUser(user: string): void {
  const [uid, gid] = idsOf(user);
  if (process.geteuid?.() === uid) return;
  if (process.geteuid?.() !== 0) throw new UsageError('ERR_USAGE', `only root can become ${user}`);
  for (const [directory, mode] of [
    [runDirectory(), 0o700],
    [UAPI_DIRECTORY, 0o755],
    [stateDirectory(), 0o700],
  ] as const) {
    mkdirSync(directory, { recursive: true, mode });
    chownSync(directory, uid, gid);
  }
  const sets = ['--inh-caps', '--ambient-caps', '--bounding-set'];
  const rights = sets.map((option) => `${option}=${CAPABILITIES}`);
  const identity = [`--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--no-new-privs'];
  const program = ownProgram(...process.argv.slice(2));
  try {
    process.execve?.(SETPRIV, ['setpriv', ...identity, ...rights, '--', ...program], process.env);
  } catch (cause) {
    const hint = 'apt-get install util-linux';
    throw new UsageError('ERR_USAGE', `--user needs ${SETPRIV}, which cannot be run`, { hint, cause });
  }
}

/** As the host knows the user, wherever it keeps them. */
function idsOf(user: string): [uid: number, gid: number] {
  const ask = (option: string): number => {
    const text = execFileSync('id', [option, '--', user], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return Number(text);
  };
  try {
    return [ask('-u'), ask('-g')];
  } catch (cause) {
    const hint = `adduser --system --group ${JSON.stringify(user)}`;
    throw new UsageError('ERR_USAGE', `this host has no user ${JSON.stringify(user)}`, { hint, cause });
  }
}
