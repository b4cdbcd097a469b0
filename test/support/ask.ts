// Run in a host: asks SERVER by the stub resolver of Node.js (c-ares), TRIES times each, from the address FROM or, where it is
// empty, any, questions of `TYPE NAME`. Each answer shows as a line of JSON: the data, or the code of the error. A SERVER of which nothing comes shows as ETIMEOUT.

import { Resolver } from 'node:dns/promises';
import { isIPv6 } from 'node:net';

/** Of the first question; then it adapts to how fast the server is. */
const TIMEOUT_MS = 2_000;

const [server = '', tries = '', from = '', ...questions] = process.argv.slice(2);
const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: Number(tries) });
resolver.setServers([isIPv6(server) ? `[${server}]` : server]);

if (from !== '') resolver.setLocalAddress(isIPv6(from) ? '0.0.0.0' : from, isIPv6(from) ? from : '::0');

for (const question of questions) {
  const [type = '', name = ''] = question.split(' ');
  try {
    console.log(JSON.stringify(await resolver.resolve(name, type)));
  } catch (error) {
    console.log(JSON.stringify((error as NodeJS.ErrnoException).code));
  }
}
