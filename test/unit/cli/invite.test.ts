// invite: an option that the rest of the line has no use for is refused before anybody is asked.

import { expect, test } from 'vitest';
import { ringfence } from './program.ts';

test.concurrent.each([
  { line: 'invite --list --profile std', says: /'--list' cannot be used with option '--profile <profile>'/ },
  {
    line: 'invite bob --revoke --expires 1h',
    says: /'--revoke' cannot be used with option '--expires <time>'/,
  },
  {
    line: 'invite --accept r.yaml --file b.yaml',
    says: /'--accept <file>' cannot be used with option '--file/,
  },
  { line: 'invite bob --wg --expires 1h', says: /'--wg' cannot be used with option '--expires <time>'/ },
  { line: 'invite bob --list', says: /--list takes no name, and here is one: bob/ },
])('$line', async ({ line, says }) => {
  const run = await ringfence(line.split(' '), { env: { RINGFENCE_RUN_DIR: '/nowhere' } });
  expect(run).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(says) });
});
