// The problems of one file while it is being read. Everything below works with offsets into the text; here they become
// lines and columns.

import { LineCounter } from 'yaml';
import { ConfigError, type ErrorCode, type Place, type Problem } from '../errors.ts';
import { renderPath } from './quote.ts';

/** Keys and list indices from the root. */
export type Path = readonly (string | number)[];

export class Report {
  readonly file: string;
  /** The parser tells it where lines begin. */
  readonly lines = new LineCounter();
  readonly #problems: Problem[] = [];

  constructor(file: string) {
    this.file = file;
  }

  place(offset: number, path: Path): Place {
    const { line, col } = this.lines.linePos(offset);
    return { file: this.file, line: Math.max(1, line), column: Math.max(1, col), path: renderPath(path) };
  }

  add(code: ErrorCode, offset: number, path: Path, message: string, hint?: string): void {
    this.#problems.push({ code, message, hint, place: this.place(offset, path) });
  }

  /** Ends the reading if anything was added so far. */
  throwProblems(): void {
    const [first, ...more] = this.#problems;
    if (first !== undefined) throw new ConfigError([first, ...more]);
  }
}
