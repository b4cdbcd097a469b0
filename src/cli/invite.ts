// `ringfence invite NAME`: a file with which one new node can join, once; or a plain WireGuard configuration for what is no
// node of ours. The keys are made here and in the node, each where it is needed: none goes over the control socket.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Endpoint, parseEndpoint } from '../address/endpoint.ts';
import { type IpInterface, networkOf, parseInterface, renderPrefix } from '../address/prefix.ts';
import {
  decodeKey,
  encodeKey,
  generatePrivateKey,
  publicKeyOf,
  renderPublicKey,
  wipe,
} from '../config/key.ts';
import { readKeyFile, shellWord } from '../config/key-file.ts';
import { writeNewFile } from '../config/new-file.ts';
import { renderName } from '../config/quote.ts';
import type { NodeRequest } from '../control/target.ts';
import { messageOf, RingfenceError, UsageError } from '../errors.ts';
import { type Invite, renderInvite } from '../join/invite-file.ts';
import { LARGEST_REQUEST_BYTES, parseRequest } from '../join/request-file.ts';
import type { InviteAnswer, InviteState } from '../node/invitations.ts';
import { durationOption } from './duration-option.ts';
import { create, inTheWay } from './new-file.ts';
import { askRunning, onlyInterface } from './running-node.ts';
import { alignColumns } from './table.ts';

interface InviteOptions {
  readonly interface?: string;
  readonly expires: number;
  readonly endpoint: readonly string[];
  readonly file?: string;
  readonly profile?: string;
  readonly offline?: boolean;
  readonly wg?: boolean;
  readonly list?: boolean;
  readonly revoke?: boolean;
  readonly accept?: string;
}

/** What only a new invite has: asking for it beside something else would be asking for nothing. */
const OF_AN_INVITE = ['expires', 'endpoint', 'profile', 'file', 'offline', 'wg'];

export function registerInvite(program: Command): void {
  program
    .command('invite')
    .summary('let a new node join')
    .description(
      'Has the running node of this host invite NAME: it gets addresses, and a file, which is printed and saved with mode ' +
        '0600. On the new machine `ringfence join` makes its key, which never leaves it. A file is good once.',
    )
    .argument('[name]', 'what the new node is called here')
    .option('--interface <iface>', 'the interface of the node that invites, where several run')
    .addOption(
      new Option('--expires <time>', 'how long it is good: 90s, 30m, 24h, 7d')
        .argParser(durationOption(30))
        .default(24 * 3600, '24h'),
    )
    .addOption(
      new Option('--endpoint <endpoint>', 'where this node is reached, repeated for more')
        .argParser((text: string, before: readonly string[]) => [...before, checkedEndpoint(text)])
        .default([], 'the addresses of this host'),
    )
    .option(
      '--profile <profile>',
      'what it may reach: one of firewall.profiles of this node (default: none, which grants nothing)',
    )
    .option('--file <file>', 'what to save it as (default: NAME.yaml, or NAME.conf with --wg)')
    .option('--offline', 'for a machine that cannot reach this one: its request is carried here by hand')
    .addOption(
      new Option(
        '--wg',
        'a plain WireGuard configuration, and its QR code, for apps that are not ringfence',
      ).conflicts(['offline', 'expires']), // nothing is redeemed, and so nothing expires
    )
    .addOption(
      new Option('--list', 'show the invites that are open, and what became of others').conflicts([
        ...OF_AN_INVITE,
        'revoke',
        'accept',
      ]),
    )
    .addOption(new Option('--revoke', 'take the invite of NAME back').conflicts([...OF_AN_INVITE, 'accept']))
    .addOption(
      new Option('--accept <file>', 'take in who made this request by `ringfence join --offline`').conflicts(
        OF_AN_INVITE,
      ),
    )
    .action(invite);
}

async function invite(name: string | undefined, options: InviteOptions): Promise<void> {
  if (name !== undefined && (options.list === true || options.accept !== undefined)) {
    const option = options.list === true ? '--list' : '--accept';
    throw new UsageError('ERR_USAGE', `${option} takes no name, and here is one: ${renderName(name)}`);
  }
  const ask = <T>(request: NodeRequest): Promise<T> =>
    askRunning<T>(options.interface ?? onlyInterface(), request);
  if (options.list === true) return list(await ask<InviteState[]>({ request: 'invites' }));
  if (options.accept !== undefined) return await accept(options.accept, ask);
  if (name === undefined) {
    throw new UsageError('ERR_USAGE', 'who is invited? The name is missing', {
      hint: 'as in: ringfence invite bob',
    });
  }
  if (options.revoke === true) {
    await ask({ request: 'revoke-invite', name });
    process.stdout.write(`the invite of ${name} is revoked\n`);
    return;
  }
  if (options.wg === true) await plain(name, options, ask);
  else await inviteNode(name, options, ask);
}

type Ask = <T>(request: NodeRequest) => Promise<T>;

async function inviteNode(name: string, options: InviteOptions, ask: Ask): Promise<void> {
  const file = options.file ?? `${name}.yaml`;
  refuseTaken(file);
  const oneTimeKey = options.offline === true ? null : generatePrivateKey();
  try {
    const answer = await ask<InviteAnswer>({
      request: 'invite',
      name,
      kind: oneTimeKey === null ? 'hand' : 'tunnel',
      ...(oneTimeKey === null ? {} : { publicKey: renderPublicKey(publicKeyOf(oneTimeKey)) }),
      ...termsOf(options),
    });
    await withPresharedKey(answer.presharedKeyFile, async (presharedKey) => {
      const content = renderInvite(inviteOf(answer), { presharedKey, oneTimeKey });
      try {
        create(file, () => writeNewFile(file, content, 0o600));
        await print(content);
      } finally {
        wipe(content);
      }
    });
    sayInvited(answer, file, options);
  } finally {
    if (oneTimeKey !== null) wipe(oneTimeKey);
  }
}

/** What the node is asked for every kind of invite. */
function termsOf({ expires, endpoint, profile }: InviteOptions) {
  return {
    seconds: expires,
    ...(endpoint.length > 0 ? { endpoints: endpoint } : {}),
    ...(profile === undefined ? {} : { profile }),
  };
}

function sayInvited(answer: InviteAnswer, file: string, { endpoint, offline }: InviteOptions): void {
  const reached = answer.node.endpoints.join(', ');
  const guess = endpoint.length > 0 ? '' : ' (--endpoint names another, as behind a NAT)';
  const then =
    offline === true
      ? `there: ringfence join ${shellWord(file)} --offline; then here: ringfence invite --accept ${answer.name}.request.yaml`
      : `there: ringfence join ${shellWord(file)}`;
  process.stderr.write(
    `saved as ${file}, good once until ${new Date(answer.expiresSeconds * 1000).toISOString()}\n` +
      `${answer.name} gets ${answer.addresses.join(', ')}; this node is reached at ${reached}${guess}\n` +
      reachText(answer) +
      `next: carry the file to the new machine by a way that nobody reads, and ${then}\n`,
  );
}

/** What the new peer may reach; nothing of it where the node has no firewall. */
function reachText({ name, profile, profiles }: InviteAnswer): string {
  if (profile !== null) return `${name} may reach what the profile ${profile} grants\n`;
  if (profiles === null) return '';
  const choice = profiles.length === 0 ? '' : ` (${profiles.join(', ')})`;
  return `${name} has no profile, so nothing is granted to it here: invite with --profile${choice}, or write into the file what it may reach\n`;
}

/** A configuration for apps such as those of phones: they cannot join, so this node makes their key. */
async function plain(name: string, options: InviteOptions, ask: Ask): Promise<void> {
  const file = options.file ?? `${name}.conf`;
  refuseTaken(file);
  const privateKey = generatePrivateKey();
  try {
    const publicKey = renderPublicKey(publicKeyOf(privateKey));
    const answer = await ask<InviteAnswer>({
      request: 'invite',
      name,
      kind: 'wg',
      publicKey,
      ...termsOf(options),
    });
    await withPresharedKey(answer.presharedKeyFile, async (presharedKey) => {
      const content = renderPlain(answer, privateKey, presharedKey);
      try {
        create(file, () => writeNewFile(file, content, 0o600));
        await print(content);
        process.stderr.write(await renderQr(content));
      } finally {
        wipe(content);
      }
    });
    process.stderr.write(
      `saved as ${file}; ${name} is a peer of this node now. Whoever has the file is ${name}: delete it once the app has it\n${reachText(answer)}`,
    );
  } finally {
    wipe(privateKey);
  }
}

function renderPlain(answer: InviteAnswer, privateKey: Uint8Array, presharedKey: Uint8Array): Uint8Array {
  const { node } = answer;
  const networks = answer.addresses.flatMap((text) => {
    const parsed = parseInterface(text);
    return parsed.ok ? [renderPrefix(networkOf(parsed.value))] : [];
  });
  const [endpoint = ''] = node.endpoints;
  const [own, shared] = [encodeKey(privateKey), encodeKey(presharedKey)];
  const parts = [
    Buffer.from(`# ${answer.name}, a peer of ${node.name}\n[Interface]\nPrivateKey = `),
    own,
    Buffer.from(
      `Address = ${answer.addresses.join(', ')}\nMTU = ${node.mtu}\n\n[Peer]\nPublicKey = ${node.publicKey}\nPresharedKey = `,
    ),
    shared,
    Buffer.from(`AllowedIPs = ${networks.join(', ')}\nEndpoint = ${endpoint}\nPersistentKeepalive = 25\n`),
  ];
  const content = Buffer.concat(parts);
  wipe(own, shared);
  return content;
}

/** The bytes go to the encoder as they are: a string of them could not be wiped. */
async function renderQr(content: Uint8Array): Promise<string> {
  const { encodeQR } = await import('qr');
  const output = process.stderr.isTTY ? 'term' : 'ascii';
  return `${encodeQR('', output, { ecc: 'low', encoding: 'byte', textEncoder: () => content })}\n`;
}

async function accept(file: string, ask: Ask): Promise<void> {
  let text: string;
  try {
    if (statSync(file).size > LARGEST_REQUEST_BYTES) throw new Error('it is too large');
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new RingfenceError('ERR_JOIN_FILE', `${file} cannot be read: ${messageOf(cause)}`, { cause });
  }
  const parsed = parseRequest(text);
  if (!parsed.ok) {
    throw new RingfenceError('ERR_JOIN_FILE', `${file}: ${parsed.problem}`, {
      hint: 'name what `ringfence join FILE --offline` has written',
    });
  }
  const { name, publicKey, seal } = parsed.value;
  await ask({ request: 'accept-join', name, publicKey: renderPublicKey(publicKey), seal });
  process.stdout.write(`${name} has joined\n`);
}

function list(invites: readonly InviteState[]): void {
  if (invites.length === 0) {
    process.stdout.write('nobody is invited\n');
    return;
  }
  const rows = invites.map(({ name, state, addresses, profile, expiresSeconds }) => [
    name,
    state,
    new Date(expiresSeconds * 1000).toISOString(),
    profile ?? '-',
    addresses.join(', '),
  ]);
  process.stdout.write(
    `${alignColumns([['NAME', 'STATE', 'GOOD UNTIL', 'PROFILE', 'ADDRESSES'], ...rows]).join('\n')}\n`,
  );
}

function inviteOf(answer: InviteAnswer): Invite {
  const { node } = answer;
  const addresses = (texts: readonly string[]): IpInterface[] =>
    texts.flatMap((text) => {
      const parsed = parseInterface(text);
      return parsed.ok ? [parsed.value] : [];
    });
  const endpoints = node.endpoints.flatMap((text): Endpoint[] => {
    const parsed = parseEndpoint(text);
    return parsed.ok ? [parsed.value] : [];
  });
  const publicKey = decodeKey(Buffer.from(node.publicKey)) ?? new Uint8Array();
  return {
    ...answer,
    addresses: addresses(answer.addresses),
    node: { name: node.name, publicKey, addresses: addresses(node.addresses), endpoints },
  };
}

async function withPresharedKey(file: string, work: (key: Uint8Array) => Promise<void>): Promise<void> {
  const result = readKeyFile(file);
  if (!result.ok) {
    throw new RingfenceError('ERR_JOIN_FILE', `${file}: ${result.problem}`, {
      hint: 'run this as the user the node runs as, on its machine',
    });
  }
  try {
    await work(result.key);
  } finally {
    wipe(result.key);
  }
}

/** Before anything is asked: an invite whose file cannot be made would lie about. */
function refuseTaken(file: string): void {
  if (existsSync(file)) throw inTheWay(file);
}

function checkedEndpoint(text: string): string {
  const parsed = parseEndpoint(text);
  if (parsed.ok) return text;
  throw new InvalidArgumentError(`It takes an address or name and a port: ${parsed.problem}.`);
}

function print(content: Uint8Array): Promise<void> {
  return new Promise((resolve) => process.stdout.write(content, () => resolve()));
}
