// An error → what the terminal shows of it: the place, what is wrong, what to do. Never a stack trace, unless debugging.

import { styleText } from 'node:util';
import { ConfigError, messageOf, type Problem, RingfenceError, renderProblem } from '../errors.ts';

/** More than anybody mends before looking again. */
const SHOWN_PROBLEMS = 100;

/** Lines for `stream`, coloured where that is a terminal and `NO_COLOR` is not set. */
export function renderError(error: unknown, stream: NodeJS.WriteStream): string {
  const hintLine = (hint: string | undefined): string =>
    hint === undefined ? '' : `${styleText('dim', `  hint: ${hint}`, { stream })}\n`;
  if (error instanceof ConfigError) {
    const shown = error.problems.slice(0, SHOWN_PROBLEMS);
    const rest = error.problems.length - shown.length;
    const render = (problem: Problem): string => `${renderProblem(problem)}\n${hintLine(problem.hint)}`;
    return shown.map(render).join('') + (rest > 0 ? `… and ${rest} more problems\n` : '');
  }
  const title = styleText('red', 'ringfence:', { stream });
  if (error instanceof RingfenceError)
    return `${title} ${error.message} (${error.code})\n${hintLine(error.hint)}`;
  const isDebugging = /^(debug|verbose)$/i.test(process.env['LOG_LEVEL'] ?? '');
  const stack = isDebugging && error instanceof Error ? `${error.stack}\n` : '';
  const hint = 'this is a bug of ringfence; LOG_LEVEL=debug shows where, and a report with that helps';
  return `${title} internal error: ${messageOf(error)} (ERR_INTERNAL)\n${hintLine(hint)}${stack}`;
}
