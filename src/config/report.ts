// The problems of one file, and of one that it includes, while they are being read. Everything below works with offsets into
// the text; here they become lines and columns.

import { LineCounter } from 'yaml';
import { ConfigError, type ErrorCode, type Place, type Problem } from '../errors.ts';
import { renderPath } from './quote.ts';

/** Keys and list indices from the root. */
export type Path = readonly (string | number)[];

/** Offsets of each file begin here, so that an offset tells its file. No text is that long. */
const OFFSETS_PER_FILE = 2 ** 32;

interface Source {
  readonly file: string;
  readonly lines: LineCounter;
}

export class Report {
  /** The configuration itself, by which other files are found. */
  readonly file: string;
  readonly #sources: Source[] = [];
  readonly #problems: Problem[] = [];

  constructor(file: string) {
    this.file = file;
    this.begin(file);
  }

  /** The text that is read next is that of this file. */
  begin(file: string): void {
    this.#sources.push({ file, lines: new LineCounter() });
  }

  /** The parser says where in the text of the current file a line begins. */
  readonly addLine = (offset: number): void => {
    this.#sources.at(-1)?.lines.addNewLine(offset);
  };

  /** What an offset into the text of the current file counts from. */
  get base(): number {
    return (this.#sources.length - 1) * OFFSETS_PER_FILE;
  }

  place(offset: number, path: Path): Place {
    return { ...this.position(offset), path: renderPath(path) };
  }

  /** Where an offset is. */
  position(offset: number): Omit<Place, 'path'> {
    const source = this.#sources[Math.floor(offset / OFFSETS_PER_FILE)];
    const { line, col } = source?.lines.linePos(offset % OFFSETS_PER_FILE) ?? { line: 1, col: 1 };
    return {
      file: source?.file ?? this.file,
      line: Math.max(1, line),
      column: Math.max(1, col),
    };
  }

  add(code: ErrorCode, offset: number, path: Path, message: string, hint?: string): void {
    this.addAt(this.place(offset, path), code, message, hint);
  }

  /** Of what was read already. */
  addAt(place: Place, code: ErrorCode, message: string, hint?: string): void {
    this.#problems.push({ code, message, hint, place });
  }

  /** Ends the reading if anything was added so far: the problems of the configuration come before those of what it includes. */
  throwProblems(): void {
    const order = ({ place }: Problem): number => this.#sources.findIndex(({ file }) => file === place.file);
    const [first, ...more] = this.#problems.toSorted((a, b) => order(a) - order(b));
    if (first !== undefined) throw new ConfigError([first, ...more]);
  }
}
