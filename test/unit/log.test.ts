// The log: one line per event, no secret at any depth, at most one line a minute where a loop writes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import { createLog, type LogFields, type LogOptions } from '../../src/log.ts';

function recorder(options: LogOptions = {}) {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', format: 'text', ...options, write: (line) => lines.push(line) });
  return { log, lines };
}

/** A line without its time. */
function said(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /, ''));
}

test('a line is time, level, message, fields', () => {
  const { log, lines } = recorder();
  log.info('handshake complete', { peer: 'alice', ms: 12, endpoint: '192.0.2.1:51820', note: 'two words' });
  log.child({ lane: 0 }).error('it failed', { error: new Error('no route') });
  expect(lines[0]).toMatch(/^\d{4}-.*Z info {2}handshake/);
  expect(said(lines)).toEqual([
    'info  handshake complete peer=alice ms=12 endpoint=192.0.2.1:51820 note="two words"\n',
    'error it failed lane=0 error="no route"\n',
  ]);
});

test('one event is one line, and moves no cursor', () => {
  const { log, lines } = recorder();
  log.warn('a\nb\u{1b}[2J', { name: 'c\nd', '\u{9b}k': 'e' });
  expect(lines).toHaveLength(1);
  expect(lines[0]?.slice(0, -1)).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test('JSON is one object per line', () => {
  const { log, lines } = recorder({ format: 'json' });
  log.info('ready', { port: 51_820 });
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'info', msg: 'ready', port: 51_820 });
  expect(lines[0]).toMatch(/\n$/);
});

describe('levels', () => {
  const written = (options: LogOptions): string[] => {
    const { log, lines } = recorder(options);
    for (const level of ['error', 'warn', 'info', 'debug'] as const) log[level](level);
    return said(lines).map((line) => line.trim().split(/ +/)[0] ?? '');
  };
  test.each([
    ['silent', []],
    ['error', ['error']],
    ['warn', ['error', 'warn']],
    ['info', ['error', 'warn', 'info']],
    ['debug', ['error', 'warn', 'info', 'debug']],
    ['verbose', ['error', 'warn', 'info', 'debug']],
  ] as const)('%s', (level, expected) => expect(written({ level })).toEqual(expected));

  test.each([
    ['silent', 0],
    ['ERROR', 1],
    ['verbose', 4],
    ['what', 3],
    ['', 3],
  ])('LOG_LEVEL=%s', (word, count) => {
    vi.stubEnv('LOG_LEVEL', word);
    const lines: string[] = [];
    const log = createLog({ format: 'text', write: (line) => lines.push(line) });
    for (const level of ['error', 'warn', 'info', 'debug'] as const) log[level](level);
    vi.unstubAllEnvs();
    expect(lines).toHaveLength(count);
  });
});

test('the level changes live, for what was made of the log before as well', () => {
  const { log, lines } = recorder({ level: 'info' });
  const child = log.child({ lane: 0 });
  child.debug('left out');
  log.level = 'debug';
  child.debug('written');
  log.limited('key').debug('written as well');
  log.level = 'silent';
  child.error('left out');
  expect([log.level, child.level]).toEqual(['silent', 'silent']);
  expect(said(lines)).toEqual(['debug written lane=0\n', 'debug written as well\n']);
});

describe('secrets are never written', () => {
  const secret = 'c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0ISEhISE=';
  test.each<[string, LogFields]>([
    ['by name', { privateKey: secret, private_key: secret, psk: secret, presharedKey: secret }],
    ['inside objects', { peer: { inner: { preshared_key: secret } } }],
    ['inside lists', { peers: [{ privateKey: secret }] }],
    ['deeper than anybody looks', { a: { b: { c: { d: { e: { f: { privateKey: secret } } } } } } }],
    [
      'as bytes under any name',
      { key: Buffer.from(secret, 'base64'), list: [Buffer.from(secret, 'base64')] },
    ],
  ])('%s', (_, fields) => {
    for (const format of ['text', 'json'] as const) {
      const { log, lines } = recorder({ format });
      log.info('x', fields);
      log.child(fields).info('y');
      expect(lines.join('')).not.toContain(secret);
      expect(lines.join('')).not.toContain('115,101,99'); // the bytes of "sec", as JSON writes them
      expect(lines.join('')).not.toContain('":115');
    }
  });

  test('public keys are no secret', () => {
    const { log, lines } = recorder();
    log.info('x', { publicKey: secret });
    expect(lines[0]).toContain(`publicKey="${secret}"`);
  });
});

describe('limited', () => {
  test('once a minute per key, and then how many were left out', () => {
    let nowMs = 0;
    const { log, lines } = recorder({ now: () => nowMs });
    const fail = (): void => log.limited('send').warn('send failed');
    for (let i = 0; i < 5; i++) fail();
    log.limited('receive').warn('receive failed');
    nowMs = 59_999;
    fail();
    nowMs = 60_000;
    fail();
    nowMs = 120_000;
    fail();
    expect(said(lines)).toEqual([
      'warn  send failed\n',
      'warn  receive failed\n',
      'warn  send failed leftOut=5\n',
      'warn  send failed\n',
    ]);
  });

  test('an interval of its own, and one account for a log and its children', () => {
    let nowMs = 0;
    const { log, lines } = recorder({ now: () => nowMs });
    log.limited('k', 10).info('a');
    log.child({ lane: 1 }).limited('k', 10).info('b');
    nowMs = 10;
    log.limited('k', 10).info('c', { peer: 'alice' });
    expect(said(lines)).toEqual(['info  a\n', 'info  c leftOut=1 peer=alice\n']);
  });

  test('memory stays bounded where keys do not', () => {
    const { log, lines } = recorder({ now: () => 0 });
    for (let i = 0; i < 5_000; i++) log.limited(`key ${i}`).info('x');
    log.limited('key 0').info('forgotten, so written again');
    log.limited('key 4999').info('remembered');
    expect(lines).toHaveLength(5_001);
  });
});

test('a reader that is gone ends nothing', async () => {
  const program = `
    import { createLog } from ${JSON.stringify(new URL('../../src/log.ts', import.meta.url).href)};
    const log = createLog();
    process.stdin.once('data', () => {
      for (let i = 0; i < 1000; i++) log.info('nobody reads this');
      process.stdout.write('still here');
      process.stdin.destroy();
    });
  `;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'pipe' });
  child.stderr.destroy();
  child.stdin.write('go\n');
  const [[output], [code]] = await Promise.all([once(child.stdout, 'data'), once(child, 'exit')]);
  expect(String(output)).toBe('still here');
  expect(code).toBe(0);
});
