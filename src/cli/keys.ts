// `ringfence genkey`, `genpsk`, `pubkey`: keys on stdout, exactly as `wg` prints them.

import { fstatSync } from 'node:fs';
import type { Command } from 'commander';
import {
  decodeKey,
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
  wipe,
} from '../config/key.ts';
import { UsageError } from '../errors.ts';

/** A key is 45 bytes. What is longer is something else, and is not waited for. */
const INPUT_LIMIT_BYTES = 4096;

export function registerGenkey(program: Command): void {
  program
    .command('genkey')
    .summary('make a private key')
    .description('Prints a new private key: umask 077; ringfence genkey > rf0.key')
    .action(() => printSecret(generatePrivateKey()));
}

export function registerGenpsk(program: Command): void {
  program
    .command('genpsk')
    .summary('make a preshared key')
    .description(
      'Prints a new preshared key, which two peers then share: umask 077; ringfence genpsk > alice.psk',
    )
    .action(() => printSecret(generatePresharedKey()));
}

export function registerPubkey(program: Command): void {
  program
    .command('pubkey')
    .summary('print the public key of a private key')
    .description('Reads a private key and prints its public key: ringfence pubkey < rf0.key')
    .action(printPublicKey);
}

async function printSecret(key: Uint8Array): Promise<void> {
  warnIfOthersCanRead();
  const text = encodeKey(key);
  wipe(key);
  await print(text);
  wipe(text);
}

async function printPublicKey(): Promise<void> {
  const input = await readInput();
  const privateKey = decodeKey(input);
  wipe(input);
  if (privateKey === null || privateKey.every((byte) => byte === 0)) {
    throw new UsageError('ERR_KEY_INPUT', 'what came on standard input is not one private key', {
      hint: 'a key is 44 characters of base64, as `ringfence genkey` prints it',
    });
  }
  const publicKey = publicKeyOf(privateKey);
  wipe(privateKey);
  await print(encodeKey(publicKey));
}

/** As `wg` warns. Where the shell has made the file already, only its user can still close it. */
function warnIfOthersCanRead(): void {
  const stat = fstatSync(process.stdout.fd);
  if (!stat.isFile() || (stat.mode & 0o007) === 0) return;
  process.stderr.write(
    'warning: the key goes into a file that everybody can read; chmod 600 it, or set umask 077 before\n',
  );
}

/** Standard input to its end, as bytes: a key in a string could not be wiped. */
async function readInput(): Promise<Uint8Array> {
  const input = new Uint8Array(INPUT_LIMIT_BYTES);
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, INPUT_LIMIT_BYTES - length);
    input.set(part, length);
    length += part.length;
    wipe(chunk);
    if (length === INPUT_LIMIT_BYTES) break;
  }
  return input.subarray(0, length);
}

function print(text: Uint8Array): Promise<void> {
  return new Promise((resolve) => process.stdout.write(text, () => resolve()));
}
