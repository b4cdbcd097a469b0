// Who has the lock that legacy iptables takes for each change: whoever comes later waits.

import { readFileSync, statSync } from 'node:fs';

const LOCK_FILE = process.env['XTABLES_LOCKFILE'] ?? '/run/xtables.lock';

/** `iptables-restore (process 4711)`; null when nobody has it, or nobody but `except`. */
export function lockHolder(except: number | undefined): string | null {
  try {
    const { ino } = statSync(LOCK_FILE);
    // `1: FLOCK  ADVISORY  WRITE 4711 00:19:1234 0 EOF`; whoever waits for it has `->` before the kind.
    const held = readFileSync('/proc/locks', 'utf8').matchAll(/^\d+: FLOCK\s+\S+\s+\S+\s+(\d+) \S+:(\d+) /gm);
    for (const [, pid = '', inode] of held) {
      if (Number(inode) !== ino || Number(pid) === except) continue;
      // 0 is a process of another container.
      return pid === '0' ? 'a process elsewhere' : `${nameOf(pid)} (process ${pid})`;
    }
  } catch {
    // There is no such file until somebody locks it.
  }
  return null;
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'a program that has ended';
  }
}
