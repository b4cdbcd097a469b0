// `ringfence dns corefile FILE`: the names of a policy for CoreDNS, which answers them in place of the node.

import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { NodeConfig } from '../config/schema.ts';
import { reloadCoreDns } from '../dns/coredns.ts';
import { type RenderedCorefile, renderCorefile } from '../dns/corefile.ts';
import { ConfigError, codeOf, RingfenceError } from '../errors.ts';
import { hostAddresses } from '../node/host-addresses.ts';
import { replaceFile } from '../node/replace-file.ts';
import type { NamePolicy } from '../policy/names.ts';

/** CoreDNS may run as anybody; there is no secret in it. */
const COREFILE_MODE = 0o644;
const DNS_PORT = 53;

export function registerDns(program: Command): void {
  const dns = program
    .command('dns')
    .summary('the names of the overlay for other programs')
    .description('What the policy says of names, for programs that answer them in place of the node.');
  dns
    .command('corefile')
    .summary('the equivalent configuration of CoreDNS')
    .description(
      'Prints the configuration of CoreDNS that answers as the node of FILE would: every name, and who may learn it.',
    )
    .argument('<file>', 'the configuration, such as ringfence.yaml')
    .option('--write', 'put it where firewall.dns.corefile says, and have CoreDNS take it')
    .action(async (file: string, { write }: { write?: boolean }) => {
      const config = loadConfig(file);
      if (config.firewall === null || config.firewall.names === null) throw missing(config, 'firewall.dns');
      const { policy, names } = config.firewall;
      const rendered = renderCorefile(policy, names, hostAddresses());
      if (write === true) await writeCorefile(config, names, rendered);
      else process.stdout.write(rendered.text);
    });
}

async function writeCorefile(config: NodeConfig, { corefile }: NamePolicy, rendered: RenderedCorefile) {
  if (corefile === null) throw missing(config, 'firewall.dns.corefile');
  try {
    await replaceFile(corefile.file, rendered.text, { mode: COREFILE_MODE });
  } catch (error) {
    throw new RingfenceError('ERR_FILE_WRITE', `${corefile.file} cannot be written: ${codeOf(error)}`, {
      cause: error,
    });
  }
  const [own] = config.interface.addresses;
  if (corefile.pidFile === null || own === undefined) {
    process.stderr.write(`${corefile.file} is written; nobody was told: there is no firewall.dns.reload\n`);
    return;
  }
  await reloadCoreDns(corefile.pidFile, { address: own.address, port: DNS_PORT }, rendered);
  process.stderr.write(`${corefile.file} is written, and CoreDNS answers by it\n`);
}

function missing({ file }: NodeConfig, key: string): ConfigError {
  const place = { file, line: 1, column: 1, path: key };
  const message = 'this key is missing: there is nothing to say to CoreDNS';
  return new ConfigError([{ code: 'ERR_CONFIG_MISSING_KEY', message, place }]);
}
