// What commands print with --json, held against docs/answers.schema.json: a key that it does not have is one that it should.

import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { z } from 'zod';

const { $defs } = JSON.parse(
  readFileSync(new URL('../../docs/answers.schema.json', import.meta.url), 'utf8'),
  (_, value: unknown) =>
    typeof value === 'object' && value !== null && 'properties' in value
      ? { ...value, additionalProperties: false }
      : value,
) as { $defs: Record<string, Parameters<typeof z.fromJSONSchema>[0]> };

export function expectAnswer(name: string, text: string): void {
  const schema = $defs[name];
  if (schema === undefined) throw new Error(`there is no schema of ${name}`);
  expect(z.fromJSONSchema(schema).safeParse(JSON.parse(text)).error?.issues ?? []).toEqual([]);
}
