// What `nft -j` lists, read as far as it is needed here. Other versions print more, and other things; what does not look as
// expected is left out.

/** One chain of a list. `hook` and what belongs to it are there for base chains only. */
export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook: string | null;
  readonly policy: string | null;
}

export interface NftRule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly handle: number;
  readonly comment: string | null;
  /** Statements and matches, each an object of one key. */
  readonly expressions: readonly Readonly<Record<string, unknown>>[];
}

export interface NftCounter {
  readonly name: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface NftList {
  readonly tables: readonly { readonly family: string; readonly name: string }[];
  readonly chains: readonly NftChain[];
  readonly rules: readonly NftRule[];
  readonly counters: readonly NftCounter[];
}

type Fields = Readonly<Record<string, unknown>>;

/** What is not JSON, or of another shape, is an empty list. */
export function parseNftList(text: string): NftList {
  const entries = entriesOf(text);
  const of = (kind: string): Fields[] =>
    entries.flatMap((entry) => (isFields(entry[kind]) ? [entry[kind]] : []));
  return {
    tables: of('table').map((one) => ({ family: word(one['family']), name: word(one['name']) })),
    chains: of('chain').map((one) => ({
      family: word(one['family']),
      table: word(one['table']),
      name: word(one['name']),
      hook: wordOrNull(one['hook']),
      policy: wordOrNull(one['policy']),
    })),
    rules: of('rule').map((one) => ({
      family: word(one['family']),
      table: word(one['table']),
      chain: word(one['chain']),
      handle: Number(one['handle']),
      comment: wordOrNull(one['comment']),
      expressions: Array.isArray(one['expr']) ? one['expr'].filter(isFields) : [],
    })),
    counters: of('counter').map((one) => ({
      name: word(one['name']),
      packets: count(one['packets']),
      bytes: count(one['bytes']),
    })),
  };
}

function entriesOf(text: string): Fields[] {
  try {
    const parsed: unknown = JSON.parse(text);
    const list = isFields(parsed) ? parsed['nftables'] : undefined;
    return Array.isArray(list) ? list.filter(isFields) : [];
  } catch {
    return [];
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function word(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function wordOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function count(value: unknown): bigint {
  return typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : 0n;
}
