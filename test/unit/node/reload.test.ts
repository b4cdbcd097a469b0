// The order of a reload: all prepare, all commit, or what was committed is taken back, last first. The parts are stand-ins
// that write down what is asked of them; test/pair/reload.test.ts has the real ones.

import { expect, test } from 'vitest';
import type { NodeConfig } from '../../../src/config/schema.ts';
import { changeWhole, type ReloadPart } from '../../../src/node/reload.ts';
import { ConfigFolder, INTERFACE } from '../config/files.ts';

type Step = 'prepare' | 'commit' | 'roll back';

function config(): NodeConfig {
  using folder = new ConfigFolder();
  return folder.load(INTERFACE);
}

/** What three parts and the last step are asked to do when those of `failing` fail, and what comes of it. */
async function play(failing: readonly string[]): Promise<{ said: string[]; error: unknown }> {
  const said: string[] = [];
  const act = async (step: Step, name: string): Promise<void> => {
    said.push(`${step} ${name}`);
    if (failing.includes(`${step} ${name}`)) throw new Error(`${step} ${name} failed`);
  };
  const part = (name: string): ReloadPart => ({
    prepare: async () => {
      await act('prepare', name);
      return {
        commit: () => act('commit', name),
        rollBack: () => act('roll back', name),
        [Symbol.asyncDispose]: async () => {
          said.push(`free ${name}`);
        },
      };
    },
  });
  const nothing = config();
  try {
    await changeWhole(['a', 'b', 'c'].map(part), nothing, nothing, () => act('commit', 'last'));
    return { said, error: undefined };
  } catch (error) {
    return { said, error };
  }
}

const PREPARED = ['prepare a', 'prepare b', 'prepare c'];
const FREED = ['free c', 'free b', 'free a'];

test.each([
  [[], [...PREPARED, 'commit a', 'commit b', 'commit c', 'commit last', ...FREED]],
  [['prepare b'], ['prepare a', 'prepare b', 'free a']],
  [['commit b'], [...PREPARED, 'commit a', 'commit b', 'roll back a', ...FREED]],
  [
    ['commit last'],
    [
      ...PREPARED,
      'commit a',
      'commit b',
      'commit c',
      'commit last',
      'roll back c',
      'roll back b',
      'roll back a',
      ...FREED,
    ],
  ],
])('with %j failing', async (failing, expected) => {
  const { said, error } = await play(failing);
  expect(said).toEqual(expected);
  if (failing.length > 0) expect(error).toMatchObject({ message: `${failing[0]} failed` });
});

test('what cannot be taken back is said, and the rest is taken back', async () => {
  const { said, error } = await play(['commit c', 'roll back b']);
  expect(said).toContain('roll back a');
  expect(error).toMatchObject({
    code: 'ERR_NODE_RELOAD',
    message: 'commit c failed; and this could not be taken back: roll back b failed',
  });
});
