// The program as a whole: what it returns, what it says to a wrong command, and that no failure shows a stack trace.

import { describe, expect, test } from 'vitest';
import { ringfence, shell } from './program.ts';

describe('what is fine returns 0', () => {
  test.each([
    [
      '--version',
      [],
      /^ringfence v\d+\.\d+\.\d+\ncore {6}boringtun [\d.]+, .*\nNode\.js {3}v.*\noffloads {2}udp-gso .*\n$/,
    ],
    ['-V', [], /^ringfence v/],
    ['--help', [], /Commands:.*init.*check.*genkey.*Examples:.*Exit codes: 0/s],
    ['help', [], /Commands:/],
    ['help', ['init'], /--address <address>/],
    ['check', ['--help'], /Usage: ringfence check/],
  ])('%s', async (command, rest, stdout) => {
    const run = await ringfence([command, ...rest]);
    expect(run).toMatchObject({ code: 0, stderr: '' });
    expect(run.stdout).toMatch(stdout);
  });

  test('no arguments at all: the help, as WireGuard programs do', async () => {
    expect(await ringfence([])).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('Usage:'),
    });
  });
});

describe('wrong usage returns 2, in one line and a hint', () => {
  test.each([
    [['chek'], "unknown command 'chek'", 'Did you mean check?'],
    [['up to'], "unknown command 'up to'", '`ringfence --help` lists what there is'],
    [
      ['-f'],
      'this takes one interface: 1 to 15 letters, digits or any of _ = + . -',
      'ringfence [-f | --foreground] IFACE',
    ],
    [
      ['-f', 'a', 'b'],
      'this takes one interface: 1 to 15 letters, digits or any of _ = + . -',
      'ringfence [-f | --foreground] IFACE',
    ],
    [['--colour'], "unknown option '--colour'", '`ringfence --help` lists what there is'],
    [['check'], "missing required argument 'file'", '`ringfence check --help` lists what there is'],
    [
      ['check', 'a', 'b'],
      "too many arguments for 'check'. Expected 1 argument but got 2: a, b.",
      '`ringfence check --help` lists what there is',
    ],
    [['check', 'a', '--jsn'], "unknown option '--jsn'", 'Did you mean --json?'],
    [
      ['init', '--port', '70000'],
      "option '--port <port>' argument '70000' is invalid. It takes a port from 0 to 65535.",
      '`ringfence init --help` lists what there is',
    ],
  ])('%j', async (args, message, hint) => {
    expect(await ringfence(args)).toEqual({
      code: 2,
      stdout: '',
      stderr: `ringfence: ${message} (ERR_USAGE)\n  hint: ${hint}\n`,
    });
  });
});

describe('a reader that has seen enough is no failure', () => {
  test.each(['ringfence --help | true', 'ringfence genkey | true', 'ringfence help 2>&1 | head -1'])(
    '%s',
    async (line) =>
      expect(await shell(`${line}; exit "\${PIPESTATUS[0]}"`)).toMatchObject({ code: 0, stderr: '' }),
  );
});

test('a full disk is one', async () => {
  expect(await shell('ringfence genkey > /dev/full')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(
      'ringfence: standard output cannot be written: ENOSPC (ERR_FILE_WRITE)\n',
    ),
  });
});

test('colours only on a terminal, and not under NO_COLOR', async () => {
  const command = 'ringfence check none.yaml';
  const onTerminal = (variables: string): string =>
    `export -f ringfence; env -u FORCE_COLOR -u CI ${variables} TERM=xterm SHELL=/bin/bash script -qec '${command}' /dev/null < /dev/null`;
  const colour = '\u{1b}[';
  expect((await shell(command)).stderr).not.toContain(colour);
  expect((await shell(onTerminal('-u NO_COLOR'))).stdout).toContain(colour);
  expect((await shell(onTerminal('NO_COLOR=1'))).stdout).not.toContain(colour);
});
