// A configuration in a folder of its own, with its key file, and what loading it says.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generatePrivateKey, publicKeyOf, renderPublicKey } from '../../../src/config/key.ts';
import { writeKeyFile } from '../../../src/config/key-file.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { NodeConfig } from '../../../src/config/schema.ts';
import { ConfigError } from '../../../src/errors.ts';

/** A folder with `rf0.key` in it, gone with `using`. */
export class ConfigFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'ringfence-config-'));
  readonly file = join(this.path, 'ringfence.yaml');
  readonly publicKey: string;

  constructor() {
    const privateKey = generatePrivateKey();
    writeKeyFile(join(this.path, 'rf0.key'), privateKey);
    this.publicKey = renderPublicKey(publicKeyOf(privateKey));
  }

  load(text: string | Uint8Array): NodeConfig {
    writeFileSync(this.file, text);
    return loadConfig(this.file);
  }

  /** The problems of a text as they are printed, without the name of the file: `LINE:COLUMN: path: message (CODE)`. */
  problems(text: string | Uint8Array): string[] {
    return this.refusal(text)
      .message.split('\n')
      .map((line) => line.replace(`${this.file}:`, ''));
  }

  /** Everything but a `ConfigError` fails the test. */
  refusal(text: string | Uint8Array): ConfigError {
    try {
      this.load(text);
    } catch (error) {
      if (error instanceof ConfigError) return error;
      throw error;
    }
    throw new Error('the configuration is fine');
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Public keys that nobody has the private key of: the 32 bytes are all the same. */
export const KEYS = [1, 2, 3].map((byte) => renderPublicKey(new Uint8Array(32).fill(byte)));

/** Four lines that are right; what follows begins in line 5. */
export const INTERFACE = `interface:
  name: rf0
  private_key_file: rf0.key
  addresses: [10.9.0.1/24]
`;

/** Seven lines that are right, the last a peer's key; keys of the peer follow in line 8. */
export const PEER = `${INTERFACE}peers:
  alice:
    public_key: ${KEYS[0]}
`;
