// The hosts of the guide's first pages, and what these take as there.

import { Guide } from './guide.ts';
import { addHost, routed } from './topology.ts';
import { NODE } from './traffic.ts';

/** Answers on port 8080 with its host's name and the address of who asks. */
export const WEB_SERVER = `
require('node:http').createServer((request, response) => response.end(
  process.argv[1] + ' serves ' + request.socket.remoteAddress.replace('::ffff:', '') + '\\n'
)).listen(8080, () => console.log('ready'));
`;

/** A hub and a laptop, both with a web server, a visitor, and somebody outside: walks `pages` in turn. */
export async function walkFromTheFirstNode(pages: readonly string[]): Promise<void> {
  await using net = await routed(1500, { left: 'hub', right: 'laptop' });
  const [visitor, client] = await Promise.all([addHost(net, 'visitor', 3), addHost(net, 'client', 4)]);
  await using guide = new Guide({ hub: net.left, laptop: net.right, visitor, client });
  const servers = [net.left, net.right].map((host) => host.spawn(NODE, ['-e', WEB_SERVER, host.name]));
  await Promise.all(servers.map((server) => server.line(/^ready$/, 20_000)));
  for (const page of pages) await guide.walk(page);
}
