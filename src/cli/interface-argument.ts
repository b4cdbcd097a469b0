// Whether a command line is that of a userspace WireGuard, `ringfence [-f] IFACE`, or names a command of ours.

import { INTERFACE_NAME } from '../config/interface-name.ts';

export const FOREGROUND_FLAGS: readonly string[] = ['-f', '--foreground'];

/** Whether these arguments name an interface and no command: `-f` says so, and so does a name that no command has. */
export function namesInterface(args: readonly string[], commands: readonly string[]): boolean {
  const [first = '', ...rest] = args;
  if (FOREGROUND_FLAGS.includes(first)) return true;
  return (
    rest.length === 0 && INTERFACE_NAME.test(first) && !first.startsWith('-') && !isMeantAs(first, commands)
  );
}

/** A command, or one with a slip in it: `chek` makes no interface. Names of interfaces have a digit, or are nothing alike. */
function isMeantAs(name: string, commands: readonly string[]): boolean {
  if (commands.includes(name)) return true;
  return /^[a-z]{4,}$/.test(name) && commands.some((command) => isSlipOf(name, command));
}

/** One letter too many, too few, another, or two that changed places. */
function isSlipOf(name: string, command: string): boolean {
  let start = 0;
  while (start < name.length && name[start] === command[start]) start++;
  let end = 0;
  while (end < Math.min(name.length, command.length) - start && name.at(-1 - end) === command.at(-1 - end))
    end++;
  const wrong = name.slice(start, name.length - end);
  const right = command.slice(start, command.length - end);
  const isSwapped =
    wrong.length === 2 && right.length === 2 && wrong[0] === right[1] && wrong[1] === right[0];
  return isSwapped || (wrong.length <= 1 && right.length <= 1);
}
