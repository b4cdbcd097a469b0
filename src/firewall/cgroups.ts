// Cgroups (v2) of the host, as rules name them. A rule matches the cgroup that had the path when it was loaded: one that is
// removed and made anew at the same path is another, which the rule does not fit, and no rule can be loaded for a path where
// there is none. So they are looked at before rules are made of them, and watched.

import { existsSync, type FSWatcher, readFileSync, statSync, watch } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { HostPolicy } from '../policy/host.ts';

/** Where nft looks for a path. */
const NFT_ROOT = '/sys/fs/cgroup';
/** The kernel tells of what is made and removed, but not of mounts, and what it tells may be lost. */
const LOOK_MS = 2_000;

export interface Cgroup {
  /** From {@link NFT_ROOT} on, as nft takes it: `unified/nats.service` on a host that has v1 as well. */
  readonly nftPath: string;
  /** From the root of the hierarchy on, as iptables takes it. */
  readonly path: string;
  /** How deep below that root it is; 1 is a child of it. */
  readonly level: number;
  /** The number of its inode, in decimal, which is what the kernel compares: no other cgroup ever gets it again. */
  readonly id: string;
}

/** By the path in the file; one that is not there is left out. */
export type Cgroups = ReadonlyMap<string, Cgroup>;

/** The cgroups that `process` rows name, each once. */
export function cgroupPaths({ process }: Pick<HostPolicy, 'process'>): string[] {
  return [...new Set(process.flatMap(({ cgroups }) => cgroups ?? []))];
}

/** What is there now of these, given as from the root of the hierarchy on. */
export function findCgroups(paths: readonly string[]): Cgroups {
  if (paths.length === 0) return new Map();
  const mount = cgroupMount();
  if (mount === null) return new Map();
  return new Map(
    paths.flatMap((path): [string, Cgroup][] => {
      const directory = join(mount.point, path);
      const stat = statSync(directory, { bigint: true, throwIfNoEntry: false });
      if (stat?.isDirectory() !== true) return [];
      const whole = join(mount.root, path).replace(/^\//, '');
      const nftPath = relative(NFT_ROOT, directory);
      return [[path, { nftPath, path: whole, level: whole.split('/').length, id: `${stat.ino}` }]];
    }),
  );
}

/**
 * A listing of nft's with the numbers of cgroups in place of their paths. nft looks for the first directory of that number
 * below {@link NFT_ROOT}, where the hierarchies of v1 have numbers of their own: the path may be one of theirs, or another
 * one the next time, and once the cgroup is gone there is none.
 */
export function withCgroupNumbers(listing: string): string {
  return listing.replaceAll(/(socket cgroupv2 level \d+) "([^"]*)"/g, (_, match: string, path: string) => {
    const stat = statSync(join(NFT_ROOT, path), { bigint: true, throwIfNoEntry: false });
    return `${match} ${stat?.ino ?? `"${path}"`}`;
  });
}

/** A listing of nft's without the rules that let those pass who are in a cgroup that is gone, which nft could not load. */
export function withoutGoneInNft(listing: string): string {
  return listing.replaceAll(
    /^\s*socket cgroupv2 level \d+ (?:\d+|"([^"]*)") .*\n/gm,
    (line, path: string | undefined) => (path !== undefined && existsSync(join(NFT_ROOT, path)) ? line : ''),
  );
}

/** The same of rules of iptables, which say of each cgroup that a packet is not of it. */
export function withoutGoneInIptables(rules: string): string {
  return rules.replaceAll(/-m cgroup ! --path (?:"((?:[^"\\]|\\.)*)"|(\S+)) /g, (match, quoted, bare) => {
    const { point, root } = cgroupMount() ?? { point: '', root: '/' };
    const path = String(quoted ?? bare).replaceAll('\\\\', '\\');
    return point !== '' && existsSync(join(point, relative(root, join('/', path)))) ? match : '';
  });
}

/** Where cgroup v2 is mounted, and which cgroup stands there; null where this host has none. */
export function cgroupMount(): { readonly point: string; readonly root: string } | null {
  // 42 31 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw (proc_pid_mountinfo(5))
  const found = readFileSync('/proc/self/mountinfo', 'utf8').matchAll(
    /^\d+ \d+ \S+ (\S+) (\S+) .* - cgroup2 /gm,
  );
  const mounts = [...found].map(([, root = '', point = '']) => ({ root: plain(root), point: plain(point) }));
  // Another file system may have been mounted above it; and a root that begins with /.. is outside of what rules can name.
  const usable = mounts.filter(
    ({ root, point }) => !root.startsWith('/..') && existsSync(join(point, 'cgroup.controllers')),
  );
  return usable.find(({ point }) => point.startsWith(NFT_ROOT)) ?? usable[0] ?? null;
}

/** Blanks and backslashes are written as `\040` and `\134` there. */
function plain(escaped: string): string {
  return escaped.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/** Says when cgroups of these paths may have come, gone or been made anew. */
export class CgroupWatch implements Disposable {
  readonly #paths: readonly string[];
  readonly #look: () => void;
  readonly #timer: NodeJS.Timeout;
  /** By the directory that is watched: the nearest that exists above each cgroup. */
  readonly #watched = new Map<string, { readonly watcher: FSWatcher; readonly id: bigint }>();

  /** `look` is called often, and once at the start: it is to see for itself whether anything changed. */
  constructor(paths: readonly string[], look: () => void) {
    this.#paths = paths;
    this.#look = look;
    this.#told();
    this.#timer = setInterval(() => this.#told(), LOOK_MS).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    for (const directory of this.#watched.keys()) this.#forget(directory);
  }

  /** First watched, then looked at: nothing happens unseen in between. */
  #told(): void {
    this.#arm();
    this.#look();
  }

  /** What is above a cgroup comes and goes, too, also while this is done. */
  #arm(): void {
    for (let wanted = this.#wanted(); !this.#watches(wanted); wanted = this.#wanted()) {
      for (const directory of this.#watched.keys()) {
        if (this.#watched.get(directory)?.id !== wanted.get(directory)) this.#forget(directory);
      }
      for (const [directory, id] of wanted) if (!this.#watch(directory, id)) return;
    }
  }

  #watches(wanted: ReadonlyMap<string, bigint>): boolean {
    return (
      wanted.size === this.#watched.size &&
      [...wanted].every(([directory, id]) => this.#watched.get(directory)?.id === id)
    );
  }

  /** The directories to watch, each with its inode. */
  #wanted(): Map<string, bigint> {
    const mount = cgroupMount();
    if (mount === null) return new Map();
    return new Map(this.#paths.map((path) => nearest(dirname(join(mount.point, path)))));
  }

  /** Where it cannot be watched, for it has just gone or the host has no watches left, the timer looks. */
  #watch(directory: string, id: bigint): boolean {
    if (this.#watched.has(directory)) return true;
    try {
      const watcher = watch(directory, { persistent: false }, (event) => {
        if (event === 'rename') this.#told();
      });
      watcher.on('error', () => this.#forget(directory));
      this.#watched.set(directory, { watcher, id });
      return true;
    } catch {
      return false;
    }
  }

  #forget(directory: string): void {
    this.#watched.get(directory)?.watcher.close();
    this.#watched.delete(directory);
  }
}

/** The directory, or the nearest above it that exists, with its inode. */
function nearest(directory: string): readonly [string, bigint] {
  const stat = statSync(directory, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? nearest(dirname(directory)) : [directory, stat.ino];
}
