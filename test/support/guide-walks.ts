// Which pages of the guide are walked, in turn and on the same hosts, and by which test.

/** test/pair/guide.test.ts */
export const SHORT_WALK = ['docs/guide.md', 'docs/guide/join.md', 'docs/guide/restrict.md'] as const;

/** test/slow/guide.test.ts: these as well, and the others of the same hosts */
export const LONG_WALK = [
  ...SHORT_WALK,
  'docs/guide/publish.md',
  'docs/guide/dropped.md',
  'docs/guide/measure.md',
  'docs/guide/recover.md',
] as const;

/** test/slow/guide.test.ts: each on hosts of its own */
export const OWN_WALKS = [
  'docs/guide/sites.md',
  'docs/guide/exit.md',
  'docs/guide/exit-by-site.md',
  'docs/guide/wg-quick.md',
] as const;
