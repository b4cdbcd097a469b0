// How far a run is and how long it still takes: a bar on a terminal, else a line per task. Knows nothing of what is measured.

import { styleText } from 'node:util';

const BAR_CELLS = 24;
const REDRAW_MS = 500;

/** `95` → `1 min 35 s`. */
export function renderSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return whole < 600 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
}

/**
 * One step per task, each with its share of an estimate. What is left is the estimate of what is left, stretched by how much
 * longer than estimated everything before has taken.
 */
export class Progress implements Disposable {
  readonly #stream: NodeJS.WriteStream;
  readonly #estimates: readonly number[];
  readonly #beganMs = performance.now();
  #step = 0;
  #stepBeganMs = this.#beganMs;
  #label = '';
  readonly #timer: NodeJS.Timeout | undefined;

  /** @param estimates seconds of each step */
  constructor(stream: NodeJS.WriteStream, estimates: readonly number[]) {
    this.#stream = stream;
    this.#estimates = estimates;
    if (stream.isTTY) this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
  }

  /** A step begins, or goes on with something else; `step` counts from 0. */
  show(step: number, title: string, detail: string): void {
    const isNew = step !== this.#step || this.#label === '';
    if (step !== this.#step) this.#stepBeganMs = performance.now();
    this.#step = step;
    this.#label = `${title}: ${detail}`;
    if (this.#stream.isTTY) this.#draw();
    else if (isNew) this.#stream.write(`bench: ${this.#percent()} %, ${this.#left()} left: ${title}\n`);
  }

  /** A line that stays. */
  say(line: string): void {
    this.#clear();
    this.#stream.write(`bench: ${line}\n`);
    if (this.#stream.isTTY && this.#label !== '') this.#draw();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#clear();
  }

  #sum(from: number, to?: number): number {
    return this.#estimates.slice(from, to).reduce((sum, seconds) => sum + seconds, 0);
  }

  /** Seconds of the estimate that are done. */
  #done(): number {
    const current = this.#estimates[this.#step] ?? 0;
    return this.#sum(0, this.#step) + Math.min(current, (performance.now() - this.#stepBeganMs) / 1000);
  }

  #percent(): number {
    return Math.floor((this.#done() / Math.max(1, this.#sum(0))) * 100);
  }

  #left(): string {
    const before = this.#sum(0, this.#step);
    const took = (this.#stepBeganMs - this.#beganMs) / 1000;
    const stretch = before > 0 ? Math.max(1, took / before) : 1;
    return renderSeconds((this.#sum(0) - this.#done()) * stretch);
  }

  #draw(): void {
    const percent = this.#percent();
    const full = Math.round((percent / 100) * BAR_CELLS);
    const bar = `${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)}`;
    const text = ` ${percent} %  ${this.#left()} left  ${this.#label}`;
    const room = Math.max(0, (this.#stream.columns ?? 80) - BAR_CELLS - 1);
    this.#stream.write(`\r\u001b[K${styleText('cyan', bar, { stream: this.#stream })}${text.slice(0, room)}`);
  }

  #clear(): void {
    if (this.#stream.isTTY) this.#stream.write('\r\u001b[K');
  }
}
