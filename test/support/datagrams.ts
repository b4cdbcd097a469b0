// A program, run in a namespace: a UDP socket that sends what it is told to and reports what it is sent.
//
//   datagrams.ts ADDRESS [PORT]   → {"port"}, then for each line {"to","port","data"} on stdin (data in base64) it sends a
//                                   datagram; {"sent"} when stdin ends, {"from","fromPort","length","data"} for each
//                                   datagram it is sent

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';

function report(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

const [address = '', port = '0'] = process.argv.slice(2);
const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
socket.on('message', (message, from) =>
  report({
    from: from.address,
    fromPort: from.port,
    length: message.length,
    data: message.toString('base64'),
  }),
);
socket.bind(Number(port), address);
await once(socket, 'listening');
report({ port: socket.address().port });

let sent = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { to, port: toPort, data } = JSON.parse(line) as { to: string; port: number; data: string };
  await new Promise<void>((resolve, reject) =>
    socket.send(Buffer.from(data, 'base64'), toPort, to, (error) => (error ? reject(error) : resolve())),
  );
  sent += 1;
}
report({ sent });
