// How far a run is, where nobody draws a bar: lines, one per task.

import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { Progress, renderSeconds } from '../../../src/bench/progress.ts';

test.each([
  [0, '0 s'],
  [-3, '0 s'],
  [59.4, '59 s'],
  [95, '1 min 35 s'],
  [600, '10 min'],
  [3599, '59 min'],
])('%d seconds', (seconds, written) => expect(renderSeconds(seconds)).toBe(written));

test('a line per task, and lines in between', async () => {
  const stream = new PassThrough();
  {
    using progress = new Progress(stream as unknown as NodeJS.WriteStream, [30, 10]);
    progress.show(0, 'round 1, ringfence', 'start');
    progress.show(0, 'round 1, ringfence', 'TCP');
    progress.say('the machine was not quiet');
    progress.show(1, 'round 1, other', 'start');
  }
  stream.end();
  expect((await text(stream)).split('\n')).toEqual([
    expect.stringMatching(/^bench: 0 %, 40 s left: round 1, ringfence$/),
    'bench: the machine was not quiet',
    expect.stringMatching(/^bench: 75 %, 10 s left: round 1, other$/),
    '',
  ]);
});
