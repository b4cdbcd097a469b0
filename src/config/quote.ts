// How pieces of a file are shown in messages: short, on one line, harmless to a terminal, and never a secret.

const SHOWN_LENGTH = 60;
/** So much that what is shown never ends in a key that was cut here. */
const READ_LENGTH = 4096;

/**
 * Text without anything that moves a cursor or turns the direction of writing, cut where it is long. What may be a key, or
 * one that lost its end, is left out: keys get pasted into the wrong line, and with words around them.
 */
export function printable(text: string, length = SHOWN_LENGTH): string {
  const escaped = text
    .slice(0, READ_LENGTH)
    .replace(/[A-Za-z0-9+/_-]{42,}=*/g, '[not shown]')
    .replace(
      /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu,
      (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
    );
  return escaped.length <= length ? escaped : `${escaped.slice(0, length)}…`;
}

export function quote(text: string): string {
  return `"${printable(text)}"`;
}

/** The name of a peer inside a sentence. */
export function renderName(name: string): string {
  return isPlain(name) ? name : quote(name);
}

/** `peers.alice.routes[1]`. What is more than letters, digits, `_` and `-` stands in brackets and quotes. */
export function renderPath(path: readonly (string | number)[]): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (!isPlain(part)) text += `[${quote(part)}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}

/** Whether a text is a key: 32 bytes in base64, as `wg` has them, or in hexadecimal, as the UAPI has them. */
export function isKey(text: string): boolean {
  return /^\s*(?:[A-Za-z0-9+/]{43}=|[0-9a-fA-F]{64})\s*$/.test(text);
}

function isPlain(name: string): boolean {
  return /^[\w-]{1,41}$/.test(name);
}
