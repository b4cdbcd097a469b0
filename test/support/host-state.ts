// What the network of a host looks like, as text that is equal byte for byte when nothing has changed.

import type { Host } from './topology.ts';

const QUESTIONS = [
  ['-json', 'address'],
  ['-json', '-4', 'route', 'show', 'table', 'all'],
  ['-json', '-6', 'route', 'show', 'table', 'all'],
  ['-json', '-4', 'rule'],
  ['-json', '-6', 'rule'],
] as const;

/** Addresses, routes of all tables and rules, of both families. */
export async function networkState(host: Host): Promise<string> {
  const answers = await Promise.all(
    QUESTIONS.map(async (question) => `${question.join(' ')}: ${await host.ip(...question)}`),
  );
  return answers.join('\n');
}
