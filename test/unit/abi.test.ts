// Twins: what stands on both sides of a wall between languages is the same on both. Reads the sources as text, so that it
// needs no compiler: entries of the columns in C++, Rust, TypeScript and the manual; exports, refusals, bits and versions.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { withoutComments } from './source-text.ts';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const sources = {
  arena: withoutComments(read('wasm/core/src/arena.rs')),
  address: withoutComments(read('wasm/core/src/packet/address.rs')),
  device: withoutComments(read('wasm/core/src/device.rs')),
  exports: withoutComments(read('wasm/core/src/lib.rs')),
  core: withoutComments(read('wasm/index.ts')),
  coreExports: withoutComments(read('wasm/core-exports.ts')),
  columns: withoutComments(read('native/src/columns.h')),
  poll: withoutComments(read('native/src/poll.h')),
  batchIo: withoutComments(read('native/src/batch_io.h')),
  io: withoutComments(read('native/batch-io.ts')),
};
const manual = read('docs/architecture.md');

/** The groups of the one match, or of the first; what is not found fails the test. */
function match(source: string, pattern: RegExp): string[] {
  const found = pattern.exec(source);
  if (found === null) throw new Error(`nothing in the source is like ${pattern}`);
  return found.slice(1);
}

interface Field {
  readonly name: string;
  /** `u16`, `u32`, `i32` or `16 bytes`. */
  readonly type: string;
  readonly offset: number;
}

interface Layout {
  readonly bytes: number;
  readonly fields: readonly Field[];
}

/** What a value of one Rust type takes up. Only a structure has fields; those of a structure inside are its own. */
interface RustType extends Layout {
  readonly alignment: number;
}

function rustLayout(name: string): Layout {
  const { bytes, fields } = rustType(name);
  return { bytes, fields };
}

function rustType(type: string): RustType {
  const bits = /^[ui](\d+)$/.exec(type)?.[1];
  if (bits !== undefined) return { bytes: Number(bits) / 8, alignment: Number(bits) / 8, fields: [] };
  const bytes = /^\[u8; (\d+)\]$/.exec(type)?.[1];
  if (bytes !== undefined) return { bytes: Number(bytes), alignment: 1, fields: [] };
  return rustStructure(type);
}

/** A structure of arena.rs or address.rs as `repr(C)` lays it out. */
function rustStructure(name: string): RustType {
  const start = `#\\[repr\\(C\\)\\]\\s+#\\[derive[^\\]]*\\]\\s+pub struct ${name} \\{`;
  const [body = ''] = match(sources.arena + sources.address, new RegExp(`${start}(.*?)\\n\\}`, 's'));
  const fields: Field[] = [];
  let [end, alignment] = [0, 1];
  for (const [, field = '', type = ''] of body.matchAll(/^ {4}pub (\w+): (.+),$/gm)) {
    const inner = rustType(type);
    const offset = roundUp(end, inner.alignment);
    const shown = type.replace(/^\[u8; (\d+)\]$/, '$1 bytes');
    if (inner.fields.length === 0) fields.push({ name: field, type: shown, offset });
    else fields.push(...inner.fields.map((one) => ({ ...one, offset: offset + one.offset })));
    end = offset + inner.bytes;
    alignment = Math.max(alignment, inner.alignment);
  }
  return { bytes: roundUp(end, alignment), fields, alignment };
}

function roundUp(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/** What columns.h has its compiler assert of a structure, in the order of its fields. */
function cppLayout(name: string): Layout {
  const [body = ''] = match(sources.columns, new RegExp(`struct ${name} \\{(.*?)\\};`, 's'));
  const [bytes] = match(sources.columns, new RegExp(`sizeof\\(${name}\\) == (\\d+)\\)`));
  const fields = Array.from(body.matchAll(/(u?)int(\d+)_t (\w+)(?:\[(\d+)\])?;/g), (groups) => {
    const [, unsigned, bits, field = '', count] = groups;
    const [offset] = match(sources.columns, new RegExp(`offsetof\\(${name}, ${field}\\) == (\\d+)\\b`));
    const type = count === undefined ? `${unsigned === 'u' ? 'u' : 'i'}${bits}` : `${count} bytes`;
    return { name: field, type, offset: Number(offset) };
  });
  return { bytes: Number(bytes), fields };
}

/** The table of the manual under `## A … entry: … bytes`. */
function manualLayout(title: string): Layout {
  const [bytes, table = ''] = match(
    manual,
    new RegExp(`## A ${title} entry: (\\d+) bytes\\n(.*?)\\n## `, 's'),
  );
  const fields = Array.from(table.matchAll(/^\| (\d+) \| ([\w ]+) \| `(\w+)`/gm), (groups) => {
    const [, offset, type = '', name = ''] = groups;
    return { name, type, offset: Number(offset) };
  });
  return { bytes: Number(bytes), fields };
}

describe.each([
  { entry: 'datagram', rust: 'Datagram', cpp: 'DatagramEntry', constant: 'DATAGRAM_ENTRY_BYTES' },
  { entry: 'frame', rust: 'Frame', cpp: 'FrameEntry', constant: 'FRAME_ENTRY_BYTES' },
])('an entry of a $entry column', ({ entry, rust, cpp, constant }) => {
  test('has fields in arena.rs', () => expect(rustLayout(rust).fields.length).toBeGreaterThan(3));
  test('is the same in columns.h', () => expect(cppLayout(cpp)).toEqual(rustLayout(rust)));
  test('is the same in docs/architecture.md', () => expect(manualLayout(entry)).toEqual(rustLayout(rust)));
  test('has its size in native/batch-io.ts', () => {
    const [bytes] = match(sources.io, new RegExp(`const ${constant} = (\\d+);`));
    expect(Number(bytes)).toBe(rustLayout(rust).bytes);
  });
});

describe('the numbers of native/batch-io.ts are those of its sources', () => {
  test('what wait() reports', () => {
    const [ready = ''] = match(sources.io, /const READY = \{ (.*) \}/);
    const cpp = Array.from(sources.poll.matchAll(/uint32_t k(\w)(\w+) = (\d+);/g), (groups) => {
      const [, first = '', rest, bit] = groups;
      return `${first.toLowerCase()}${rest}: ${bit}`;
    });
    expect(ready.split(', ')).toEqual(cpp);
  });

  test('what exchange() reports', () => {
    const [report = ''] = match(sources.io, /const REPORT = \{ (.*) \}/);
    const cpp = Array.from(sources.batchIo.matchAll(/size_t k(\w)(\w+) = (\d+);/g), (groups) => {
      const [, first = '', rest, index] = groups;
      return `${first.toLowerCase()}${rest}: ${index}`;
    });
    expect([...report.split(', '), 'count: 4']).toEqual(cpp);
  });

  test('the status of a datagram whose source was stale', () => {
    expect(match(sources.io, /const SENT_WITHOUT_LOCAL = (\d+);/)).toEqual(
      match(sources.columns, /kSentWithoutLocal = (\d+);/),
    );
  });
});

describe('the wrapper knows the core', () => {
  test('by its version', () => {
    const [version] = match(sources.exports, /const ABI_VERSION: u32 = (\d+);/);
    expect(match(sources.coreExports, /const ABI_VERSION = (\d+);/)).toEqual([version]);
    expect(match(manual, /\| `abi_version` \| (\d+) \|/)).toEqual([version]);
  });

  test('and by that of boringtun', () => {
    expect(match(sources.core, /BORINGTUN_VERSION = '(.*)';/)).toEqual(
      match(read('wasm/core/Cargo.toml'), /^boringtun = \{ version = "=(.*?)"/m),
    );
  });

  test('by its layout block, as docs/architecture.md has it', () => {
    const words = new Map<string, string>();
    for (const [, indices = '', names = ''] of manual.matchAll(
      /^\| (\d+(?:, \d+)*) \| (`\w+`(?:, `\w+`)*) \|/gm,
    )) {
      const offsets = indices.split(', ');
      names.split(', ').forEach((name, i) => {
        words.set(camelCase(name.replaceAll('`', '')), offsets[i] ?? '');
      });
    }
    const used = Array.from(sources.core.matchAll(/(\w+)(?::| =) word\((\d+)\)/g), (groups) =>
      groups.slice(1),
    );
    expect(used.length).toBeGreaterThan(8);
    for (const [name = '', index] of used) expect([name, words.get(name)]).toEqual([name, index]);
  });

  test('by its exports and their arguments', () => {
    const rust = Array.from(
      sources.exports.matchAll(/extern "C" fn (\w+)\(([^)]*)\)(?: -> (\w+))?/g),
      ([, name, args = '', result]) => ({ name, count: countOf(args), hasResult: result !== undefined }),
    );
    const [body = ''] = match(sources.coreExports, /interface Exports \{(.*?)\n\}/s);
    const typescript = Array.from(
      body.matchAll(/^ {2}([a-z]\w+)\(([^)]*)\): (\w+);/gm),
      ([, name, args = '', result]) => ({ name, count: countOf(args), hasResult: result !== 'void' }),
    );
    expect(rust.length).toBeGreaterThan(10);
    expect(typescript).toEqual(rust);
  });

  test('by the names and numbers of its refusals', () => {
    const [variants = ''] = match(sources.device, /pub enum Refusal \{(.*?)\n\}/s);
    const rust = Array.from(variants.matchAll(/(\w+) = (-\d+),/g), (groups) => groups.slice(1));
    const [names = ''] = match(sources.coreExports, /const REFUSALS = \[(.*?)\]/s);
    const typescript = Array.from(names.matchAll(/'(\w+)'/g), ([, name = ''], i) => [name, String(-1 - i)]);
    expect(rust.length).toBeGreaterThan(5);
    expect(typescript).toEqual(
      rust.map(([name = '', number]) => [
        `ERR_CORE${name.replaceAll(/[A-Z]/g, '_$&').toUpperCase()}`,
        number,
      ]),
    );
  });
});

function countOf(args: string): number {
  return args.split(',').filter((one) => one.trim() !== '').length;
}

function camelCase(name: string): string {
  return name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
