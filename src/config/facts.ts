// What a key of the configuration holds and what is said of it: the facts that the manual and the messages share, and how a
// text becomes a value. The keys themselves are in `schema.ts` and `firewall/`.

import { z } from 'zod';
import type { Parsed } from '../address/ip.ts';
import type { ErrorCode } from '../errors.ts';
import { quote } from './quote.ts';

/** What the manual and the messages say of a key. */
export interface KeyFacts {
  readonly description: string;
  /** What a value is, worded to follow "… is not". */
  readonly expected: string;
  /** The code of a value that is not. */
  readonly code: ErrorCode;
  readonly hint?: string;
  /** What stands behind the key in the example of the manual, as YAML. Every key has one; items of lists have none. */
  readonly example?: string;
}

/** The facts of every key's schema. */
export const keyFacts = z.registry<KeyFacts>();

/** What a wrong text is told, in place of the usual "… is not EXPECTED: …". */
export interface Refusal {
  readonly ok: false;
  readonly problem: string;
  readonly code: ErrorCode;
  readonly hint: string;
}

/** How a `Refusal` travels through zod. */
export interface RefusalParams {
  readonly code?: ErrorCode;
  readonly hint?: string;
}

/** Text that a parser reads. The message quotes it, unless it looks like a key. */
export function text<T>(parse: (text: string) => Parsed<T> | Refusal, facts: KeyFacts) {
  const schema = z.string().transform((value, context) => {
    const parsed = parse(value);
    if (parsed.ok) return parsed.value;
    const params: RefusalParams = 'code' in parsed ? { code: parsed.code, hint: parsed.hint } : {};
    const message =
      'code' in parsed ? parsed.problem : `${quote(value)} is not ${facts.expected}: ${parsed.problem}`;
    context.addIssue({ code: 'custom', message, params });
    return z.NEVER;
  });
  return schema.register(keyFacts, facts);
}

export function list<S extends z.ZodType>(item: S, facts: Omit<KeyFacts, 'code'>) {
  return z.array(item).register(keyFacts, { ...facts, code: 'ERR_CONFIG_TYPE' });
}
