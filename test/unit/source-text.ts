// Sources as text, for tests that hold files against each other.

/** TypeScript, Rust or C++ without its comments. Line comments begin after a space or a line: `https://` is none. */
export function withoutComments(source: string): string {
  return source.replaceAll(/\/\*.*?\*\/|(?<=^|\s)\/\/[^\n]*/gs, '');
}
