// Walks pages of the guide as a reader would: what stands in a block ```sh HOST is typed on that host, one command after the other, what
// follows as ```text must be what they print, and ```yaml HOST:FILE is written into that file. A host is a network namespace with a
// shell of root's in it, which has folders of its own where programs keep their state: /etc, /run/ringfence, /run/wireguard.

import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isMap, parse, parseDocument } from 'yaml';
import type { LineProcess } from './line-process.ts';
import { type Block, blocksOf } from './markdown.ts';
import { RINGFENCE } from './node-process.ts';
import type { Host } from './topology.ts';

const COMMAND_DEADLINE_MS = 60_000;
/** A reader asks again: whoever answers may not be there yet. */
const QUESTION = /^(curl|ping|iperf3 -c) /;
const PATIENCE_MS = 40_000;

const SETUP = `
exec 2>&1
set -e
name=$1 own=/run/guide/$2
mount --make-rprivate /
mkdir -p /run/ringfence /run/wireguard $own/home $own/etc $own/work $own/state
mount -t tmpfs tmpfs /run/ringfence
mount -t tmpfs tmpfs /run/wireguard
mount -t overlay overlay -o lowerdir=/etc,upperdir=$own/etc,workdir=$own/work /etc
hostname "$name"
cd $own/home
export PATH=${dirname(RINGFENCE)}:$PATH:/usr/sbin:/sbin RINGFENCE_STATE_DIR=$own/state NO_COLOR=1
set +e
said() { printf '\\n%s %d\\n' "$1" "$2"; }
while read -r mark command; do
  eval "$(printf %s "$command" | base64 -d)" </dev/null
  said "$mark" $?
done
`;

interface Said {
  readonly code: number;
  readonly lines: readonly string[];
}

/** A shell on a host that stays: folders, variables and jobs are still there for the next command. */
class Shell {
  readonly host: Host;
  readonly #process: LineProcess;
  #count = 0;

  constructor(host: Host, name: string) {
    this.host = host;
    const args = ['--mount', '--uts', 'bash', '-c', SETUP, 'bash', name, host.namespace];
    this.#process = host.spawn('unshare', args, { isInteractive: true });
  }

  async run(command: string): Promise<Said> {
    this.#count += 1;
    const mark = `said-${this.#count}`;
    const from = this.#process.lines.length;
    await this.#process.write(`${mark} ${Buffer.from(command).toString('base64')}\n`);
    const [, code] = await this.#process.line(new RegExp(`^${mark} (\\d+)$`), COMMAND_DEADLINE_MS, from);
    const lines = this.#process.lines.slice(from).map(({ text }) => text);
    return { code: Number(code), lines: lines.slice(0, lines.lastIndexOf(`${mark} ${code}`)) };
  }

  /** The bytes of a file as text; empty where there is none. */
  async read(file: string): Promise<string> {
    const { lines } = await this.run(`base64 -w0 ${file} 2>/dev/null`);
    return Buffer.from(lines.join(''), 'base64').toString();
  }

  async write(file: string, text: string): Promise<void> {
    const written = await this.run(
      `umask 077; printf %s ${Buffer.from(text).toString('base64') || '""'} | base64 -d >${file}; umask 022`,
    );
    if (written.code !== 0) throw new Error(`${file}: ${written.lines.join('\n')}`);
  }

  /** Ends what its commands have left behind in the background: the nodes first, for they take back what they made. */
  async end(): Promise<void> {
    const { stdout } = await this.host.try('ip', ['netns', 'pids', this.host.namespace]);
    for (const pid of stdout.split('\n').filter((line) => line !== '')) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }
}

export class Guide implements AsyncDisposable {
  readonly #shells: ReadonlyMap<string, Shell>;

  /** Hosts by the names that the pages have for them. */
  constructor(hosts: Readonly<Record<string, Host>>) {
    this.#shells = new Map(Object.entries(hosts).map(([name, host]) => [name, new Shell(host, name)]));
  }

  /** Throws at the first step that is not as the page says, with its line. */
  async walk(page: string): Promise<void> {
    let printed: string[] = [];
    for (const block of blocksOf(page)) {
      if (block.target === '') continue;
      try {
        if (block.language === 'sh') printed = await this.#type(block);
        else if (block.language === 'text') expectPrinted(block.text, printed);
        else await this.#writeInto(block);
      } catch (error) {
        throw new Error(`${page}:${block.line}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  /** Something that the page does not say, such as a server that its reader has. */
  async prepare(host: string, command: string): Promise<void> {
    const { code, lines } = await this.#shell(host).run(command);
    if (code !== 0) throw new Error(`${host}: ${command}: ${code}\n${lines.join('\n')}`);
  }

  async #type({ target, text }: Block): Promise<string[]> {
    const shell = this.#shell(target);
    const printed: string[] = [];
    for (const line of text.replaceAll(/\\\n\s*/g, '').split('\n')) {
      const wanted = Number(/# .*exits with (\d+)/.exec(line)?.[1] ?? 0);
      const command = line.replace(/(^|\s)#.*$/, '').trim();
      if (command === '') continue;
      const copied = /^scp (\S+) ([a-z]+):$/.exec(command);
      if (copied !== null) {
        const [, file = '', to = ''] = copied;
        await this.#shell(to).write(file, await shell.read(file));
        continue;
      }
      const { code, lines } = await askedPatiently(shell, command, wanted);
      if (code !== wanted) throw new Error(`${target}: ${command}: exit ${code}\n${lines.join('\n')}`);
      printed.push(...lines);
    }
    return printed;
  }

  /** Keys of a part go where the file has them, beside those that it has; a file of another kind is written as it is. */
  async #writeInto({ language, target, text }: Block): Promise<void> {
    const [host = '', file = ''] = target.split(':');
    const shell = this.#shell(host);
    if (language !== 'yaml') return await shell.write(file, text);
    const document = parseDocument(await shell.read(file));
    const merge = (path: readonly string[], value: unknown): void => {
      const there = document.getIn(path);
      if (isObject(value) && (path.length === 0 || isMap(there))) {
        for (const [key, below] of Object.entries(value)) merge([...path, key], below);
      } else document.setIn(path, document.createNode(value));
    };
    merge([], parse(text));
    await shell.write(file, String(document));
  }

  #shell(name: string): Shell {
    const shell = this.#shells.get(name);
    if (shell === undefined) throw new Error(`there is no host ${name}`);
    return shell;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#shells.values()].map((shell) => shell.end()));
  }
}

async function askedPatiently(shell: Shell, command: string, wanted: number): Promise<Said> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const said = await shell.run(command);
    if (said.code === wanted || !QUESTION.test(command) || performance.now() > end) return said;
    await delay(100);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A line of … stands for any lines, … in a line for any words; how columns are spaced does not count. */
function expectPrinted(shown: string, printed: readonly string[]): void {
  const plain = (line: string): string => line.replaceAll(/\s+/g, ' ').trim();
  const pattern = shown
    .trimEnd()
    .split('\n')
    .map((line) => {
      if (plain(line) === '…') return '(?:.*\\n)*?';
      const words = plain(line)
        .split('…')
        .map((word) => word.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
      return `${words.join('.*?')}\\n`;
    })
    .join('');
  const text = printed
    .map(plain)
    .filter((line) => line !== '')
    .map((line) => `${line}\n`)
    .join('');
  if (!new RegExp(`^${pattern}$`).test(text))
    throw new Error(`the page shows\n${shown}\nand what was printed is\n${text}`);
}
