// `ringfence rotate session|psk|identity`: keys change while traffic goes on. The running node does it; here is what is asked
// of it, and what an operator has to do where the other side is no node of this kind.

import { type Command, InvalidArgumentError } from 'commander';
import { renderName } from '../config/quote.ts';
import type { NodeRequest } from '../control/target.ts';
import { UsageError } from '../errors.ts';
import type { RotationReport } from '../node/rotation-steps.ts';
import type { RotationAnswer } from '../node/rotations.ts';
import { askRunning, onlyInterface } from './running-node.ts';

interface RotateOptions {
  readonly interface?: string;
  readonly prune?: boolean;
  readonly cancel?: boolean;
  readonly at?: number;
}

const INTERFACE = ['--interface <iface>', 'the interface of the node, where several run'] as const;

export function registerRotate(program: Command): void {
  const rotate = program
    .command('rotate')
    .summary('change keys while traffic goes on')
    .description(
      'Changes a key on both sides: between nodes of this kind by themselves, through the tunnel that is there; with other ' +
        'peers it says what to change, and accepts both keys until the new one is used.',
    );
  rotate
    .command('session')
    .description('Makes a fresh session with PEER now. What is on its way with the old one still arrives.')
    .argument('<peer>', 'its name in the configuration')
    .option(...INTERFACE)
    .action(async (peer: string, options: RotateOptions) => {
      await ask(options, { request: 'rotate-session', peer });
      process.stdout.write(`a fresh session with ${peer} is in use\n`);
    });
  withEnds(rotate.command('psk'))
    .description('Gives PEER and this node another preshared key.')
    .argument('<peer>', 'its name in the configuration')
    .action(rotatePsk);
  withEnds(rotate.command('identity'))
    .description(
      'Gives this node another key pair, and tells its peers. Invites that are open are no good any more.',
    )
    .option('--at <time>', 'when: 2027-01-31T03:00, or +2h', parseTime)
    .action(rotateIdentity);
}

function withEnds(command: Command): Command {
  return command
    .option(...INTERFACE)
    .option('--prune', 'end it now: only the new key is accepted; not where no handshake was made with it')
    .option('--cancel', 'take the new key back, where no handshake was made with it');
}

async function rotatePsk(peer: string, options: RotateOptions): Promise<void> {
  const { peers, file } = await ask(options, { request: 'rotate-psk', peer, ...ends(options) });
  const [report] = peers;
  if (options.cancel === true) process.stdout.write(`the preshared key of ${peer} stays what it was\n`);
  else if (report?.state === 'done')
    process.stdout.write(`${peer} and this node have another preshared key\n`);
  else process.stdout.write(waiting(report, `set its PresharedKey for this node to what is in ${file}`));
}

async function rotateIdentity(options: RotateOptions): Promise<void> {
  if (options.at !== undefined && (options.prune === true || options.cancel === true))
    throw new UsageError('ERR_USAGE', '--at begins a rotation, --prune and --cancel end one');
  const at = options.at === undefined ? {} : { atSeconds: options.at };
  const { peers, publicKey, atSeconds } = await ask(options, {
    request: 'rotate-identity',
    ...ends(options),
    ...at,
  });
  if (atSeconds !== undefined) {
    process.stdout.write(
      `the key pair of this node changes at ${new Date(atSeconds * 1000).toISOString()}\n`,
    );
    return;
  }
  if (options.cancel === true) {
    process.stdout.write('the key pair of this node stays what it was\n');
    return;
  }
  const left = peers.filter(({ state }) => state === 'waiting');
  if (options.prune === true) {
    const cut = left.map(({ peer }) => renderName(peer)).join(', ');
    process.stdout.write(
      `the old key pair is gone${cut === '' ? '' : `; these peers still have the old public key: ${cut}`}\n`,
    );
    return;
  }
  if (publicKey !== undefined) process.stdout.write(`the new public key of this node is ${publicKey}\n`);
  if (left.length === 0) process.stdout.write('all peers have it, and the old key pair is gone\n');
  for (const report of left)
    process.stdout.write(waiting(report, `set the public key it has for this node to the one above`));
}

/** Why it is not done yet, and what an operator can do about it. */
function waiting(report: RotationReport | undefined, change: string): string {
  const peer = renderName(report?.peer ?? '');
  const then =
    'Both keys are accepted; once a handshake is made with the new one, the old one goes by itself.';
  switch (report?.reason) {
    case 'silent':
      return `${peer} runs no ringfence, or is not there now. On its machine: ${change}. ${then}\n`;
    case 'busy':
      return `${peer} changes a key of its own at the moment: this one waits for that. ${then}\n`;
    case 'refused':
      return `${peer} could not take the new key: its log says why. ${then}\n`;
    default:
      return `${peer} has the new key, and no handshake was made with it yet. ${then}\n`;
  }
}

function ends({ prune, cancel }: RotateOptions): { prune?: true; cancel?: true } {
  if (prune === true && cancel === true)
    throw new UsageError('ERR_USAGE', '--prune and --cancel are opposites');
  return { ...(prune === true ? { prune } : {}), ...(cancel === true ? { cancel } : {}) };
}

/** Handshakes and answers take some seconds where messages are lost. */
function ask(options: RotateOptions, request: NodeRequest): Promise<RotationAnswer> {
  if (process.stderr.isTTY) process.stderr.write('asking the other side …\n');
  return askRunning<RotationAnswer>(options.interface ?? onlyInterface(), request);
}

/** Seconds since 1970. */
function parseTime(text: string): number {
  const [, count, unit = 's'] = /^\+([0-9]{1,7})([smhd])$/.exec(text) ?? [];
  const seconds =
    count === undefined
      ? Date.parse(text) / 1000
      : Date.now() / 1000 +
        Number(count) * { s: 1, m: 60, h: 3600, d: 86_400 }[unit as 's' | 'm' | 'h' | 'd'];
  if (Number.isFinite(seconds)) return seconds;
  throw new InvalidArgumentError('It takes a time, as in 2027-01-31T03:00 or +2h.');
}
