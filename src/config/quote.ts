// How values of a file are shown in messages: short, on one line, harmless to a terminal, and never a secret.

const SHOWN_LENGTH = 60;

/** Text without anything that moves a cursor or turns the direction of writing; cut where it is long. */
export function printable(text: string, length = SHOWN_LENGTH): string {
  const escaped = text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
  return escaped.length <= length ? escaped : `${escaped.slice(0, length)}…`;
}

/** A text in quotes. What may be a key is not shown: keys get pasted into the wrong line. */
export function quote(text: string): string {
  return looksLikeKey(text) ? 'what looks like a key' : `"${printable(text)}"`;
}

/** Base64 or hexadecimal of 32 bytes, also with its end cut off or white space around it. */
export function looksLikeKey(text: string): boolean {
  return /^\s*(?:[A-Za-z0-9+/_-]{42,44}={0,2}|(?:0x)?[0-9a-fA-F]{64})\s*$/.test(text);
}

/** `peers.alice.routes[1]`; a name that has more than letters, digits, `_` and `-` is put in brackets and quotes. */
export function renderPath(path: readonly (string | number)[]): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (!/^[\w-]{1,60}$/.test(part)) text += `[${quote(part)}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}
