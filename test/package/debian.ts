// A Debian of its own, booted by systemd in namespaces: the root file system is one that scripts/setup made of Debian's
// packages, unpacked anew for each use.

import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

/** Twin: `clean_root` in scripts/setup. */
export const CLEAN_ROOT = join(
  process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'),
  'ringfence/debian-root.tar',
);

const DEADLINE_MS = 110_000;

/** Runs /root/try and powers off, whatever became of it. */
const UNIT = `
[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/root/try
StandardOutput=file:/root/output
StandardError=file:/root/output
`;

export class Debian implements AsyncDisposable {
  readonly #folder: string;
  readonly root: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.root = join(folder, 'root');
  }

  static async unpack(): Promise<Debian> {
    const debian = new Debian(await mkdtemp(join(tmpdir(), 'ringfence-debian-')));
    await mkdir(debian.root);
    await execa('tar', ['-xf', CLEAN_ROOT, '-C', debian.root]);
    // As udev makes it: whoever has CAP_NET_ADMIN may be any user.
    await execa('mknod', [debian.#tun, 'c', '10', '200']);
    await execa('chmod', ['666', debian.#tun]);
    return debian;
  }

  get #tun(): string {
    return join(this.#folder, 'tun');
  }

  async copy(file: string, to: string): Promise<void> {
    await copyFile(file, join(this.root, to));
  }

  /** Boots, runs a script as a service, and powers off. @returns what the script printed */
  async boot(script: string): Promise<string> {
    await this.copy(script, 'root/try');
    await chmod(join(this.root, 'root/try'), 0o755);
    const units = join(this.root, 'etc/systemd/system');
    await writeFile(join(units, 'try.service'), UNIT);
    await mkdir(join(units, 'multi-user.target.wants'), { recursive: true });
    await symlink('../try.service', join(units, 'multi-user.target.wants/try.service'));
    await this.enter(['--boot']);
    return await readFile(join(this.root, 'root/output'), 'utf8');
  }

  /** Installs a package, as an image is built. */
  async install(deb: string): Promise<void> {
    await this.copy(deb, 'root/ringfence.deb');
    await execa('chroot', [this.root, 'dpkg', '--install', '/root/ringfence.deb']);
  }

  /** Runs a script as root of a user namespace, who is nobody outside. It is given the root file system and the TUN device. */
  async asNobody(script: string): Promise<string> {
    for (const path of ['dev/net', 'var/lib/ringfence'])
      await mkdir(join(this.root, path), { recursive: true });
    await writeFile(join(this.root, 'dev/net/tun'), ''); // what the device is bound to
    await chmod(this.#folder, 0o755);
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--pdeathsig=KILL'];
    const namespaces = ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--kill-child'];
    const clean = { extendEnv: false, env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } };
    const { all } = await execa(
      'setpriv',
      [...nobody, 'unshare', ...namespaces, script, this.root, this.#tun],
      { ...clean, all: true, reject: false, timeout: DEADLINE_MS, stdin: 'ignore' },
    );
    return all;
  }

  /** Runs systemd-nspawn: a network of its own, the TUN device, and nothing else of this machine. */
  async enter(args: readonly string[]): Promise<string> {
    const isolation = [
      '--quiet',
      '--private-network',
      '--register=no',
      '--keep-unit',
      '--resolv-conf=off',
      '--timezone=off',
    ];
    const { all } = await execa(
      'systemd-nspawn',
      [...isolation, `--directory=${this.root}`, `--bind=${this.#tun}:/dev/net/tun`, ...args],
      { all: true, reject: false, timeout: DEADLINE_MS, stdin: 'ignore' },
    );
    return all;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}
