// The pages over HTTP: who is answered, who is refused, and that nobody is a burden. Real sockets on loopback.

import { once } from 'node:events';
import { chmodSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { type ListenAddress, parseListen } from '../../../src/config/listen.ts';
import { HttpServer, type Page } from '../../../src/control/http-server.ts';
import { parsed } from '../address/parsed.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringfence-http-'));
const servers: HttpServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
afterAll(() => rmSync(folder, { recursive: true }));

const PAGE: Page = { contentType: 'text/plain; version=0.0.4', body: 'ringfence_info 1\n' };

interface Served {
  readonly port: number;
  /** How often the page was made. */
  made(): number;
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function serve(makePage: () => Promise<Page> = async () => PAGE): Promise<Served> {
  const port = await freePort();
  let count = 0;
  const page = async (): Promise<Page> => {
    count += 1;
    return await makePage();
  };
  const listen = parsed(parseListen, `127.0.0.1:${port}`);
  servers.push(
    await HttpServer.listen({ listen, hosts: () => ['Metrics.example.org'], pages: { '/metrics': page } }),
  );
  return { port, made: () => count };
}

/** Sends `text` as it is and returns all that comes back. */
async function say(socket: Socket, text: string): Promise<string> {
  let answer = '';
  socket.on('error', () => {});
  socket.on('data', (part) => {
    answer += String(part);
  });
  socket.write(text);
  await once(socket, 'close');
  return answer;
}

const get = (host: string | undefined, rest = '', method = 'GET', path = '/metrics'): string =>
  `${method} ${path} HTTP/1.1\r\n${host === undefined ? '' : `Host: ${host}\r\n`}Connection: close\r\n${rest}\r\n`;

describe('the name a client asks for', () => {
  test.each([
    '127.0.0.1:9586',
    '10.9.0.1',
    '[::1]:9586',
    '[fd09::1]',
    'localhost:9586',
    'LOCALHOST',
    'metrics.example.org:9586',
  ])('%s is answered', async (host) => {
    const { port } = await serve();
    const answer = await say(connect(port, '127.0.0.1'), get(host));
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
    expect(answer).toContain('Content-Type: text/plain; version=0.0.4\r\n');
    expect(answer).toContain(PAGE.body);
  });

  test.each([
    'evil.example.com',
    'localhost.evil.example.com:9586',
    '127.0.0.1.evil.example.com',
    'evil.example.com:9586:127.0.0.1',
    '[evil.example.com]:9586',
    '[::1',
    '127.0.0.1:9586@evil.example.com',
    '',
  ])('"%s" is refused', async (host) => {
    const { port, made } = await serve();
    const answer = await say(connect(port, '127.0.0.1'), get(host));
    expect(answer).toMatch(/^HTTP\/1\.1 421 /);
    expect(answer).not.toContain(PAGE.body);
    expect(made()).toBe(0);
  });

  test('none at all is refused', async () => {
    const { port, made } = await serve();
    expect(await say(connect(port, '127.0.0.1'), get(undefined))).toMatch(/^HTTP\/1\.1 400 /);
    expect(await say(connect(port, '127.0.0.1'), 'GET /metrics HTTP/1.0\r\n\r\n')).toMatch(
      /^HTTP\/1\.1 421 /,
    );
    expect(made()).toBe(0);
  });
});

describe('what a client asks for', () => {
  test.each([
    { what: 'another page', text: get('localhost', '', 'GET', '/'), status: 404 },
    { what: 'a name that every object has', text: get('localhost', '', 'GET', 'constructor'), status: 400 },
    { what: 'a path above', text: get('localhost', '', 'GET', '/../metrics'), status: 404 },
    { what: 'POST', text: get('localhost', '', 'POST'), status: 405 },
    { what: 'DELETE', text: get('localhost', '', 'DELETE'), status: 405 },
    { what: 'a body', text: `${get('localhost', 'Content-Length: 3\r\n')}abc`, status: 413 },
    {
      what: 'a body in chunks',
      text: `${get('localhost', 'Transfer-Encoding: chunked\r\n')}0\r\n\r\n`,
      status: 413,
    },
    { what: 'a header of 9 KB', text: get('localhost', `X: ${'x'.repeat(9000)}\r\n`), status: 431 },
    { what: 'rubbish', text: '\u0000\u0001\r\n\r\n', status: 400 },
  ])('$what: $status', async ({ text, status }) => {
    const { port, made } = await serve();
    expect(await say(connect(port, '127.0.0.1'), text)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(made()).toBe(0);
  });

  test('HEAD gets no body, a query is ignored', async () => {
    const { port } = await serve();
    const head = await say(connect(port, '127.0.0.1'), get('localhost', '', 'HEAD', '/metrics?x=1'));
    expect(head).toMatch(/^HTTP\/1\.1 200 .*\r\n\r\n$/s);
    expect(head).not.toMatch(/Access-Control/i);
  });

  test('a page that fails is told, and the next is made anew', async () => {
    let isBroken = true;
    const { port } = await serve(async () => {
      if (isBroken) throw new Error('no answer');
      return PAGE;
    });
    expect(await say(connect(port, '127.0.0.1'), get('localhost'))).toMatch(/^HTTP\/1\.1 500 .*no answer/s);
    isBroken = false;
    expect(await say(connect(port, '127.0.0.1'), get('localhost'))).toContain(PAGE.body);
  });
});

test('who asks while a page is being made gets the same', async () => {
  const { promise, resolve } = Promise.withResolvers<Page>();
  const { port, made } = await serve(() => promise);
  const pipelined = `GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(20) + get('localhost');
  const socket = connect(port, '127.0.0.1');
  const answers = say(socket, pipelined);
  await once(socket, 'connect');
  await expect.poll(made).toBe(1);
  resolve(PAGE);
  expect((await answers).match(/^HTTP\/1\.1 200/gm)).toHaveLength(21);
  expect(made()).toBeLessThan(21);
});

test('a crowd beyond the limit is turned away, and those before it are served', async () => {
  const { port } = await serve();
  const crowd = Array.from({ length: 100 }, () => connect(port, '127.0.0.1'));
  for (const one of crowd) one.on('error', () => {});
  await Promise.all(crowd.map((one) => Promise.race([once(one, 'connect'), once(one, 'close')])));
  await expect.poll(() => crowd.filter((one) => one.destroyed || one.readableEnded).length).toBe(36);
  for (const one of crowd) one.destroy();
  await expect.poll(async () => await say(connect(port, '127.0.0.1'), get('localhost'))).toContain(PAGE.body);
});

describe('a socket', () => {
  const path = join(folder, 'metrics.sock');
  const listen: ListenAddress = { kind: 'path', path };
  const start = async (): Promise<void> => {
    servers.push(
      await HttpServer.listen({ listen, hosts: () => [], pages: { '/metrics': async () => PAGE } }),
    );
  };

  test('is for its owner, answers, and goes with the server', async () => {
    await start();
    expect(statSync(path).mode & 0o777).toBe(0o700);
    const asked = request({ socketPath: path, path: '/metrics', host: 'localhost' }).end();
    const [response] = await once(asked, 'response');
    expect(response.statusCode).toBe(200);
    response.resume();
    await servers.pop()?.close();
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });

  test('that was left behind makes room, one that lives does not, nor does a file', async () => {
    const dead = createServer().listen(path);
    await once(dead, 'listening');
    // As after kill -9: the file stays, nobody answers.
    renameSync(path, `${path}.kept`);
    dead.close();
    await once(dead, 'close');
    renameSync(`${path}.kept`, path);
    await start();
    await expect(start()).rejects.toMatchObject({ code: 'ERR_NODE_LISTEN' });
    await servers.pop()?.close();
    writeFileSync(path, 'a file');
    chmodSync(path, 0o600);
    await expect(start()).rejects.toMatchObject({ code: 'ERR_NODE_LISTEN' });
    expect(statSync(path).size).toBe(6);
    rmSync(path);
  });
});

test('a port that is taken is named', async () => {
  const { port } = await serve();
  const listen = parsed(parseListen, `127.0.0.1:${port}`);
  await expect(HttpServer.listen({ listen, hosts: () => [], pages: {} })).rejects.toMatchObject({
    code: 'ERR_NODE_LISTEN',
    message: expect.stringContaining(`http://127.0.0.1:${port}`),
    hint: 'another program is there: choose another',
  });
});
