// `ringfence init [FILE]`: the configuration and the key of a new node, both or neither, and nothing overwritten.

import { existsSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Parsed } from '../address/ip.ts';
import type { IpInterface } from '../address/prefix.ts';
import { generatePrivateKey, publicKeyOf, renderPublicKey, wipe } from '../config/key.ts';
import { shellWord, writeKeyFile } from '../config/key-file.ts';
import { writeNewFile } from '../config/new-file.ts';
import { interfaceSchema } from '../config/schema.ts';
import { parseValue } from '../config/section.ts';
import { renderTemplate } from '../config/template.ts';
import { create, inTheWay } from './new-file.ts';

interface InitOptions {
  readonly name: string;
  /** Empty: none was given. */
  readonly address: readonly IpInterface[];
  readonly port: number;
}

const { name: nameSchema, listen_port: portSchema, addresses: addressesSchema } = interfaceSchema.shape;
const DEFAULT_ADDRESSES = ['10.9.0.1/24', 'fd09::1/64'];

export function registerInit(program: Command): void {
  const parseName = (text: string): string => accepted(parseValue(nameSchema, text));
  const parsePort = (text: string): number =>
    accepted(parseValue(portSchema, /^[0-9]+$/.test(text) ? Number(text) : text));
  program
    .command('init')
    .summary('write the configuration and key of a new node')
    .description(
      'Writes FILE, with a comment for every key, and a new private key beside it. Overwrites nothing.',
    )
    .argument('[file]', 'what to write', 'ringfence.yaml')
    .option('--name <name>', 'the tunnel interface', parseName, 'rf0')
    .addOption(
      new Option('--address <address>', 'one in the overlay, repeated for more')
        .argParser((text: string, before: readonly IpInterface[]) => [...before, parseAddress(text)])
        .default([], DEFAULT_ADDRESSES.join(', ')),
    )
    .option('--port <port>', 'the UDP port, 0 for any', parsePort, 51_820)
    .action(init);
}

function init(file: string, { name, address, port }: InitOptions): void {
  const keyFile = join(dirname(file), `${name}.key`);
  for (const path of [file, keyFile]) if (existsSync(path)) throw inTheWay(path);
  const privateKey = generatePrivateKey();
  try {
    const publicKey = publicKeyOf(privateKey);
    const content = renderTemplate({
      fileName: shellWord(basename(file)),
      interfaceName: name,
      keyFileName: basename(keyFile),
      publicKey,
      addresses: address.length > 0 ? address : DEFAULT_ADDRESSES.map(parseAddress),
      listenPort: port,
    });
    create(keyFile, () => writeKeyFile(keyFile, privateKey));
    try {
      create(file, () => writeNewFile(file, Buffer.from(content), 0o644));
    } catch (error) {
      rmSync(keyFile, { force: true });
      throw error;
    }
    process.stdout.write(
      `wrote ${file} and ${keyFile}\npublic key ${renderPublicKey(publicKey)}\n` +
        `next: add peers to ${file}, then: ringfence check ${shellWord(file)}\n`,
    );
  } finally {
    wipe(privateKey);
  }
}

function parseAddress(text: string): IpInterface {
  return accepted(parseValue(addressesSchema.element, text));
}

/** An option means what its key in the file means. */
function accepted<T>(parsed: Parsed<T>): T {
  if (parsed.ok) return parsed.value;
  throw new InvalidArgumentError(`It takes ${parsed.problem}.`);
}
