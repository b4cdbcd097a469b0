// `ringfence doctor [FILE]`: what on this host is in the way, and what to type.

import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { examineHost, type Finding } from '../firewall/doctor.ts';
import { hostFacts } from '../node/host-facts.ts';
import { examineInstallation, placesOfHost } from './installation.ts';

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .summary('say what on this host is in the way of the overlay')
    .description(
      'Looks at the installation, at firewalls and at kernel parameters of this host, with FILE as what is to work there. Where its rules are in force, packets that nobody hears of try each opening. Changes nothing that stays. Exits with 1 if something will not work.',
    )
    .argument('[file]', 'the configuration, such as ringfence.yaml')
    .option('--json', 'print JSON')
    .action(doctor);
}

async function doctor(file: string | undefined, { json }: { json?: boolean }): Promise<void> {
  const config = file === undefined ? null : loadConfig(file);
  const policy = config?.firewall?.host ?? null;
  const findings = [
    ...examineInstallation(placesOfHost(), config),
    ...(await examineHost(policy, config === null ? null : hostFacts(config))),
  ];
  process.stdout.write(
    json
      ? `${JSON.stringify(findings, null, 2)}\n`
      : findings.map(render).join('') || 'nothing is in the way\n',
  );
  if (findings.some(({ kind }) => kind === 'problem')) process.exitCode = 1;
}

function render({ kind, what, remedy }: Finding): string {
  return `${kind}: ${what}\n${remedy === null ? '' : `  do: ${remedy}\n`}`;
}
