// Which profile an invite may give: one that the node runs by and its file still has. Whoever names another is told what to do.

import { afterAll, describe, expect, test } from 'vitest';
import { profilesOf, refuseProfile } from '../../../src/join/profile.ts';
import { ConfigFolder, INTERFACE } from '../config/files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

const withProfiles = (...names: readonly string[]) =>
  folder.load(
    `${INTERFACE}firewall:\n  version: 1\n  profiles: {${names.map((name) => `${name}: {}`).join(', ')}}\n`,
  );
const none = folder.load(INTERFACE);
const staff = withProfiles('staff', 'ops');
const both = withProfiles('staff', 'ops', 'std');

test('one that is in force and in the file', () => {
  expect(() => refuseProfile('std', both, both)).not.toThrow();
  expect(profilesOf(both)).toEqual(['staff', 'ops', 'std']);
  expect(profilesOf(none)).toBeNull();
});

describe.each([
  {
    why: 'no firewall',
    inForce: none,
    written: none,
    message: /has no firewall/,
    hint: /leave --profile out/,
  },
  {
    why: 'no such name',
    inForce: staff,
    written: staff,
    message: /has no profile "std"/,
    hint: /: staff, ops$/,
  },
  {
    why: 'no profile at all',
    inForce: withProfiles(),
    written: withProfiles(),
    message: /has no profile "std"/,
    hint: /below firewall\.profiles/,
  },
  {
    why: 'gone from the file',
    inForce: both,
    written: staff,
    message: /has no profile "std"/,
    hint: /staff, ops$/,
  },
  {
    why: 'written since',
    inForce: staff,
    written: both,
    message: /not read of .* "std" yet/,
    hint: /reload/,
  },
  {
    why: 'a firewall since',
    inForce: none,
    written: both,
    message: /not read of .* "std" yet/,
    hint: /reload/,
  },
  { why: 'a firewall no more', inForce: both, written: none, message: /has no firewall/, hint: /leave/ },
])('$why', ({ inForce, written, message, hint }) => {
  test('is refused', () => {
    expect(() => refuseProfile('std', inForce, written)).toThrow(
      expect.objectContaining({
        code: 'ERR_JOIN_PROFILE',
        message: expect.stringMatching(message),
        hint: expect.stringMatching(hint),
      }),
    );
  });
});

test('many names are not all told', () => {
  const many = withProfiles(...Array.from({ length: 30 }, (_, i) => `p${i}`));
  expect(() => refuseProfile('std', many, many)).toThrow(
    expect.objectContaining({ hint: expect.stringMatching(/p19, …$/) }),
  );
});
