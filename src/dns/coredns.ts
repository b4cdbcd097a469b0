// A running CoreDNS: told that its file is another one, and asked whether it has taken it. On a file that it cannot use it
// goes on with the former one and only its log says so; what it answers cannot be mistaken.

import { readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import dns from 'dns-packet';
import { codeOf, messageOf, NodeError } from '../errors.ts';
import type { NameServer } from '../policy/names.ts';
import type { RenderedCorefile } from './corefile.ts';
import { exchange } from './exchange.ts';
import { textQuestion } from './wire.ts';

const RELOAD_DEADLINE_MS = 10_000;
const TRY_MS = 1_000;
const PAUSE_MS = 100;

/**
 * Sends SIGUSR1 to the process of `pidFile` and waits until `server`, one of its addresses, answers by the new file.
 * @throws NodeError `ERR_NODE_HOST_COMMAND` when there is no such process, or it does not take the file
 */
export async function reloadCoreDns(
  pidFile: string,
  server: NameServer,
  { markName, digest }: RenderedCorefile,
): Promise<void> {
  const pid = await readPid(pidFile);
  try {
    process.kill(pid, 'SIGUSR1');
  } catch (error) {
    throw failure(`CoreDNS, process ${pid}, cannot be told of its new file: ${codeOf(error)}`, error);
  }
  const deadline = AbortSignal.timeout(RELOAD_DEADLINE_MS);
  let last = 'no answer yet';
  while (!deadline.aborted) {
    try {
      const signal = AbortSignal.any([deadline, AbortSignal.timeout(TRY_MS)]);
      const { answers = [] } = dns.decode(await exchange(server, textQuestion(markName), signal));
      if (answers.some((record) => record.type === 'TXT' && String(record.data) === digest)) return;
      last = 'it still answers by the former one';
    } catch (error) {
      last = messageOf(error);
    }
    await setTimeout(PAUSE_MS);
  }
  throw failure(`CoreDNS, process ${pid}, has not taken its new file: ${last}`);
}

/** The number in a file, of a process that is CoreDNS: to any other, SIGUSR1 could be the end. */
async function readPid(file: string): Promise<number> {
  let text: string;
  try {
    text = (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw failure(`the pid file ${file} of CoreDNS cannot be read: ${codeOf(error)}`, error);
  }
  const pid = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0;
  const name = pid === 0 ? '' : await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  if (name.trim() === 'coredns') return pid;
  throw failure(`the pid file ${file} names no running process called coredns`);
}

function failure(message: string, cause?: unknown): NodeError {
  const hint = 'the file is in its place; the log of CoreDNS says what it makes of it';
  return new NodeError('ERR_NODE_HOST_COMMAND', message, { hint, cause });
}
