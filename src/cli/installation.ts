// What of an installation is in the way of a node: the device, rights, tools, the unit and its files, completions. Looks, and
// changes nothing. What firewalls and kernel parameters have to say is src/firewall/doctor.ts.

import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { isSea } from 'node:sea';
import type { NodeConfig } from '../config/schema.ts';
import { codeOf } from '../errors.ts';
import type { Finding } from '../firewall/doctor.ts';

/** Where things are on a host. */
export interface Places {
  readonly tun: string;
  /** As in the environment: folders between colons. */
  readonly path: string;
  /** There while systemd runs the host. */
  readonly systemd: string;
  readonly units: readonly string[];
  /** Where the unit looks for files of nodes. */
  readonly files: string;
  readonly home: string;
  /** The user's, as in the environment. */
  readonly shell: string;
}

export function placesOfHost(environment: NodeJS.ProcessEnv = process.env): Places {
  return {
    tun: '/dev/net/tun',
    path: environment['PATH'] ?? '',
    systemd: '/run/systemd/system',
    units: ['/etc/systemd/system', '/usr/lib/systemd/system', '/lib/systemd/system'],
    files: '/etc/ringfence',
    home: homedir(),
    shell: environment['SHELL'] ?? '',
  };
}

const CAP_NET_ADMIN = 1n << 12n;
const UNIT = 'ringfence@.service';

/** `config` is that of the node that is to run here; null: none is known. */
export function examineInstallation(places: Places, config: NodeConfig | null): Finding[] {
  return [
    ...device(places.tun),
    ...rights(),
    ...tools(places),
    ...unit(places, config),
    ...completions(places),
  ];
}

const problem = (what: string, remedy: string | null): Finding => ({ kind: 'problem', what, remedy });
const note = (what: string, remedy: string | null): Finding => ({ kind: 'note', what, remedy });

function device(tun: string): Finding[] {
  try {
    closeSync(openSync(tun, 'r+'));
    return [];
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') {
      const remedy = `modprobe tun; for a container: --device ${tun}`;
      return [problem(`there is no ${tun}: no interface can be made`, remedy)];
    }
    return [problem(`${tun} cannot be opened: ${code}`, `run as root; for other users: chmod 0666 ${tun}`)];
  }
}

function rights(): Finding[] {
  const [, effective = '0'] =
    /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  if ((BigInt(`0x${effective}`) & CAP_NET_ADMIN) !== 0n) return [];
  return [note('a node that you start here has no CAP_NET_ADMIN', 'run it as root, or by its unit')];
}

function tools({ path }: Places): Finding[] {
  const missing = found('ip', path) === null;
  const other = found('ringfence', path);
  const own = realpathSync(isSea() ? process.execPath : (process.argv[1] ?? ''));
  // Of a checkout or a package the first is a launcher beside the sources.
  const isOther = other !== null && other !== own && !own.startsWith(join(dirname(dirname(other)), '/'));
  return [
    ...(missing
      ? [problem('ip is not installed: nodes have no addresses and routes', 'apt-get install iproute2')]
      : []),
    ...(isOther ? [note(`ringfence in PATH is another one: ${other}`, null)] : []),
  ];
}

/** The first program of this name in `path`, behind all links. */
function found(name: string, path: string): string | null {
  for (const folder of path.split(':').filter((one) => one !== '')) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return realpathSync(file);
    } catch {
      // Not in this one.
    }
  }
  return null;
}

/** Files of the unit's folder that its user, who owns the folder, cannot read: those that root has put there. */
function unit({ systemd, units, files }: Places, config: NodeConfig | null): Finding[] {
  if (!existsSync(systemd)) return [];
  if (!units.some((folder) => existsSync(join(folder, UNIT)))) {
    return [note(`systemd has no ${UNIT}: no node is started with this host`, 'install the Debian package')];
  }
  if (config === null || dirname(resolve(config.file)) !== files) return [];
  const { uid } = statSync(files);
  const keys = [
    config.interface.privateKeyFile,
    ...config.peers.flatMap(({ presharedKeyFile }) => presharedKeyFile ?? []),
  ];
  return keys
    .filter((file) => existsSync(file) && statSync(file).uid !== uid)
    .map((file) =>
      problem(
        `${UNIT} cannot read ${file}: it belongs to another user`,
        `chown --reference=${files} ${file}`,
      ),
    );
}

/** Where a shell finds completions: of packages, and of the user. The last is where to write them. */
const COMPLETIONS: Readonly<Record<string, readonly [ofPackages: string, ofUser: string]>> = {
  bash: [
    '/usr/share/bash-completion/completions/ringfence',
    '.local/share/bash-completion/completions/ringfence',
  ],
  fish: ['/usr/share/fish/vendor_completions.d/ringfence.fish', '.config/fish/completions/ringfence.fish'],
};

function completions({ shell, home }: Places): Finding[] {
  const name = basename(shell);
  const [ofPackages, ofUser] = COMPLETIONS[name] ?? [];
  if (ofPackages === undefined || ofUser === undefined) return [];
  if (existsSync(ofPackages) || existsSync(join(home, ofUser))) return [];
  return [note(`${name} completes no commands of ringfence`, `ringfence completion ${name} >~/${ofUser}`)];
}
