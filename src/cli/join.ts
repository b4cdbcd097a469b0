// `ringfence join FILE`: this machine becomes the node that FILE invites. Its key is made here and stays here; its
// configuration is written once the inviting node has taken it in. Interrupted anywhere, it can be run again.

import { closeSync, constants, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename, dirname, join as joinPath } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { type Endpoint, renderEndpoint } from '../address/endpoint.ts';
import { generatePrivateKey, publicKeyOf, wipe } from '../config/key.ts';
import { readKeyFile, shellWord, writeKeyFile } from '../config/key-file.ts';
import { loadConfig } from '../config/load.ts';
import { writeNewFile } from '../config/new-file.ts';
import { interfaceSchema, peerNameSchema } from '../config/schema.ts';
import { parseValue } from '../config/section.ts';
import { askStatus, runDirectory } from '../control/node-socket.ts';
import type { Answer } from '../control/talk.ts';
import { codeOf, type ErrorCode, messageOf, NodeError, RingfenceError, UsageError } from '../errors.ts';
import { type Invite, type InviteSecrets, LARGEST_INVITE_BYTES, parseInvite } from '../join/invite-file.ts';
import { renderNodeFile } from '../join/node-file.ts';
import { renderRequest, sealRequest } from '../join/request-file.ts';
import type { Log } from '../log.ts';
import { redeemThrough } from '../node/join-tunnel.ts';
import { startInBackground } from './background.ts';
import { keepMemoryOutOfCoreDumps } from './core-dumps.ts';
import { addLogOptions, type LogCommandOptions, logOf } from './log-options.ts';
import { create, inTheWay } from './new-file.ts';

interface JoinOptions extends LogCommandOptions {
  readonly file: string;
  readonly name: string;
  readonly offline?: boolean;
  readonly up: boolean;
}

/** How long each place where the inviting node may be is asked. */
const PATIENCE_MS = 8_000;
/** The clock of who made the invite may be so far ahead of ours. */
const CLOCK_TOLERANCE_SECONDS = 3_600;
const CONNECTED_WITHIN_MS = 5_000;
const POLL_MS = 20;

export function registerJoin(program: Command): void {
  addLogOptions(program.command('join'))
    .summary('become the node that an invite is for')
    .description(
      'Makes the key of this node, tells the inviting node through the tunnel of the invite, writes the configuration and ' +
        'brings the node up. Interrupted, it can be run again.',
    )
    .argument('<invite>', 'the file that `ringfence invite` has made, of mode 0600')
    .option('--file <file>', 'what to write; the keys come beside it', 'ringfence.yaml')
    .option('--name <name>', 'the tunnel interface', 'rf0')
    .option('--offline', 'write a request to be carried to the inviting node by hand')
    .option('--no-up', 'write the files only')
    .action(join);
}

async function join(file: string, options: JoinOptions): Promise<void> {
  keepMemoryOutOfCoreDumps();
  const { invite, secrets } = readInvite(file);
  const privateKey = new Uint8Array(32);
  try {
    const names = namesOf(invite, options);
    if (existsSync(options.file)) throw inTheWay(options.file);
    refuseTime(invite, file);
    const key = ownKey(names.key);
    privateKey.set(key);
    wipe(key);
    keepPresharedKey(names.presharedKey, secrets.presharedKey);
    const joining: Joining = { invite, secrets, options, names, publicKey: publicKeyOf(privateKey), file };
    if (options.offline === true) writeRequest(joining);
    else await joinNow(joining, logOf(options));
  } finally {
    wipe(privateKey, secrets.presharedKey, ...(secrets.oneTimeKey === null ? [] : [secrets.oneTimeKey]));
  }
}

interface Joining {
  readonly invite: Invite;
  readonly secrets: InviteSecrets;
  readonly options: JoinOptions;
  readonly names: { readonly key: string; readonly presharedKey: string };
  readonly publicKey: Uint8Array;
  /** Of the invite. */
  readonly file: string;
}

async function joinNow(joining: Joining, log: Log): Promise<void> {
  const { invite, options, secrets, file } = joining;
  const { oneTimeKey } = secrets;
  if (oneTimeKey === null) {
    throw new UsageError('ERR_USAGE', `${file} is an invite for a request that is carried by hand`, {
      hint: `ringfence join ${shellWord(file)} --offline`,
    });
  }
  const endpoint = await redeem(joining, oneTimeKey, log);
  writeConfig(joining, endpoint);
  process.stdout.write(`joined ${invite.node.name} as ${invite.name}: wrote ${options.file}\n`);
  if (!options.up) {
    process.stdout.write(`next: ringfence up ${shellWord(options.file)}\n`);
    return;
  }
  const said = await startInBackground(['run', options.file], {
    env: {},
    keepsOutput: false,
    descriptors: [],
  });
  if (said !== null) {
    process.stderr.write(said);
    throw new NodeError('ERR_NODE_START', 'the node has joined, but did not start', {
      hint: `mend what it says, then: ringfence up ${shellWord(options.file)}`,
    });
  }
  await sayConnected(options.name, invite.node.name);
}

/** Asks at each place where the inviting node may be. Gives the one where it answered. */
async function redeem(
  { invite, options, publicKey }: Joining,
  oneTimeKey: Uint8Array,
  log: Log,
): Promise<Endpoint> {
  const failures: string[] = [];
  for (const endpoint of invite.node.endpoints) {
    process.stderr.write(`asking ${invite.node.name} at ${renderEndpoint(endpoint)} …\n`);
    let answer: Answer | null = null;
    try {
      const { node } = invite;
      const name = options.name;
      const patienceMs = PATIENCE_MS;
      answer = await redeemThrough({
        interfaceName: name,
        oneTimeKey,
        host: node.publicKey,
        endpoint,
        publicKey,
        patienceMs,
        log,
      });
    } catch (error) {
      if (error instanceof RingfenceError) throw error;
      failures.push(`${renderEndpoint(endpoint)}: ${messageOf(error)}`);
      continue;
    }
    if (answer?.type === 'done') return endpoint;
    if (answer?.type === 'refused') throw refused(answer, invite);
    failures.push(`${renderEndpoint(endpoint)}: no answer in ${PATIENCE_MS / 1000} s`);
  }
  throw new RingfenceError(
    'ERR_JOIN_UNREACHABLE',
    `${invite.node.name} does not answer: ${failures.join('; ')}`,
    {
      hint:
        'does the node run, and does UDP get there? An invite that was over a day ago is met with silence, too. ' +
        'Where nothing gets through: --offline',
    },
  );
}

function refused(
  { reason, clockMs }: Answer & { readonly type: 'refused' },
  { name, node }: Invite,
): RingfenceError {
  const again = `have another made: ringfence invite ${name}, on ${node.name}`;
  const there = new Date(clockMs).toISOString();
  const here = new Date().toISOString();
  const refusals: Partial<Record<typeof reason, readonly [ErrorCode, string, string]>> = {
    used: ['ERR_JOIN_USED', 'this invite was used: another node has joined with it', again],
    expired: [
      'ERR_JOIN_EXPIRED',
      `this invite is over by the clock of ${node.name}, which says ${there}`,
      again,
    ],
    revoked: ['ERR_JOIN_REVOKED', `${node.name} has taken this invite back`, again],
    clock: [
      'ERR_JOIN_CLOCK',
      `the clocks are too far apart: it is ${there} by that of ${node.name} and ${here} by this one`,
      'set the one that is wrong, and join again',
    ],
    name: ['ERR_JOIN_NAME', `${node.name} has a peer ${name} by now`, again],
    key: [
      'ERR_JOIN_REFUSED',
      `${node.name} knows the key of this node under another name`,
      'remove the key file, and join again',
    ],
  };
  const [code, message, hint] = refusals[reason] ?? [
    'ERR_JOIN_REFUSED',
    `${node.name} could not take this node in`,
    `its log says why; the invite is still good`,
  ];
  return new RingfenceError(code, message, { hint });
}

function writeRequest({ invite, secrets, options, publicKey, names }: Joining): void {
  const [endpoint] = invite.node.endpoints;
  const request = `${joinPath(dirname(options.file), `${invite.name}.request.yaml`)}`;
  if (existsSync(request)) throw inTheWay(request);
  const content = renderRequest(sealRequest(invite.name, publicKey, secrets.presharedKey), invite.node.name);
  create(request, () => writeNewFile(request, Buffer.from(content), 0o644));
  if (endpoint !== undefined) writeConfig({ invite, options, names }, endpoint);
  process.stdout.write(
    `wrote ${options.file} and ${request}\nnext: carry ${request} to ${invite.node.name}, there: ringfence invite --accept ` +
      `${shellWord(basename(request))}; then here: ringfence up ${shellWord(options.file)}\n`,
  );
}

function writeConfig(
  { invite, options, names }: Pick<Joining, 'invite' | 'options' | 'names'>,
  endpoint: Endpoint,
): void {
  const content = renderNodeFile({
    invite,
    interfaceName: options.name,
    keyFileName: basename(names.key),
    presharedKeyFileName: basename(names.presharedKey),
    endpoint,
  });
  create(options.file, () => writeNewFile(options.file, Buffer.from(content), 0o644));
  loadConfig(options.file);
}

/** Waits for the first handshake, which the node begins by itself. */
async function sayConnected(interfaceName: string, peer: string): Promise<void> {
  const started = performance.now();
  while (performance.now() - started < CONNECTED_WITHIN_MS) {
    const status = await askStatus(runDirectory(), interfaceName);
    const isConnected = status?.peers.some(({ latestHandshakeSeconds }) => latestHandshakeSeconds !== null);
    if (isConnected === true) {
      process.stdout.write(`${interfaceName} is up and connected to ${peer}\n`);
      return;
    }
    await delay(POLL_MS);
  }
  process.stdout.write(`${interfaceName} is up; ${peer} has not answered yet: see ringfence status\n`);
}

function readInvite(file: string): { invite: Invite; secrets: InviteSecrets } {
  const bytes = readSecretFile(file);
  try {
    const parsed = parseInvite(bytes);
    if (!parsed.ok) {
      throw new RingfenceError('ERR_JOIN_FILE', `${file}: ${parsed.problem}`, {
        hint: 'carry the file again as it was made; `ringfence invite` makes another',
      });
    }
    return parsed.value;
  } finally {
    wipe(bytes);
  }
}

/** Like key files, an invite is one's own. */
function readSecretFile(file: string): Uint8Array {
  let fd: number | undefined;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > LARGEST_INVITE_BYTES) throw new Error('this is no invite');
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
      throw new RingfenceError('ERR_JOIN_FILE_MODE', `others can get at ${file}: its mode is ${mode}`, {
        hint: `if nobody has read it: chmod 600 ${shellWord(file)}; else have it revoked`,
      });
    }
    const bytes = new Uint8Array(stat.size);
    return bytes.subarray(0, readSync(fd, bytes));
  } catch (cause) {
    if (cause instanceof RingfenceError) throw cause;
    const problem = codeOf(cause) === 'ENOENT' ? 'there is no such file' : messageOf(cause);
    throw new RingfenceError('ERR_JOIN_FILE', `${file} cannot be read: ${problem}`, {
      hint: '`ringfence invite NAME` on a node that runs makes one, to be carried here',
      cause,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Before anything is asked: a wrong clock would spoil the handshakes. */
function refuseTime({ createdSeconds, expiresSeconds }: Invite, file: string): void {
  const now = Date.now() / 1000;
  const shown = (seconds: number): string => new Date(seconds * 1000).toISOString();
  if (now < createdSeconds - CLOCK_TOLERANCE_SECONDS) {
    throw new RingfenceError(
      'ERR_JOIN_CLOCK',
      `this machine's clock is wrong: it says ${shown(now)}, and ${file} was made at ${shown(createdSeconds)}`,
      { hint: 'set the clock, and join again' },
    );
  }
  if (now < expiresSeconds) return;
  throw new RingfenceError(
    'ERR_JOIN_EXPIRED',
    `${file} was good until ${shown(expiresSeconds)}; now it is ${shown(now)}`,
    {
      hint: 'if that is the time, have another made; else set the clock of this machine',
    },
  );
}

function namesOf(invite: Invite, { file, name }: JoinOptions): { key: string; presharedKey: string } {
  const parsed = parseValue(interfaceSchema.shape.name, name);
  if (!parsed.ok) throw new UsageError('ERR_USAGE', `--name takes ${parsed.problem}`);
  const isNamed = [invite.name, invite.node.name].every((one) => parseValue(peerNameSchema, one).ok);
  if (!isNamed)
    throw new RingfenceError('ERR_JOIN_FILE', 'the names in this invite are none that nodes can have');
  const folder = dirname(file);
  return { key: joinPath(folder, `${name}.key`), presharedKey: joinPath(folder, `${invite.node.name}.psk`) };
}

/** The key of this node: that of an attempt that was interrupted, or a new one, on disk before anybody hears of it. */
function ownKey(file: string): Uint8Array {
  if (existsSync(file)) {
    const result = readKeyFile(file);
    if (result.ok) return result.key;
    throw new RingfenceError('ERR_FILE_EXISTS', `${file} is in the way: ${result.problem}`, {
      hint: result.hint,
    });
  }
  const key = generatePrivateKey();
  create(file, () => writeKeyFile(file, key));
  return key;
}

function keepPresharedKey(file: string, key: Uint8Array): void {
  const present = existsSync(file) ? readKeyFile(file) : null;
  if (present === null) {
    create(file, () => writeKeyFile(file, key));
    return;
  }
  const isSame = present.ok && Buffer.from(present.key).equals(key);
  if (present.ok) wipe(present.key);
  if (!isSame) throw inTheWay(file);
}
