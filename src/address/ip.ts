// An IP address of either version, as bytes: the one form in which the program holds addresses.
// Text is read strictly (RFC 4291, no leading zeros in IPv4) and written in one way (RFC 5952).

/** What reading a text gave: the value, or what is wrong with the text, worded to follow "TEXT is not …: ". */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

/**
 * 4 bytes for version 4, 16 for version 6, in network order; never written to.
 * INVARIANT: an IPv4-mapped IPv6 address is held as the IPv4 address it stands for, so equal hosts have equal bytes.
 */
export interface IpAddress {
  readonly version: 4 | 6;
  readonly bytes: Uint8Array;
}

/** Reads `10.9.0.1`, `fd09::1` or `::ffff:10.9.0.1`. A zone (`%eth0`) belongs to an endpoint and is refused here. */
export function parseIp(text: string): Parsed<IpAddress> {
  if (!text.includes(':')) return parseIp4(text);
  const groups = parseIp6Groups(text);
  if (!groups.ok) return groups;
  return { ok: true, value: ipFromBytes(bytesOfGroups(groups.value)) };
}

/** Takes 4 or 16 bytes, which it copies. Other lengths are a mistake of the caller: `RangeError`. */
export function ipFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return { version: 4, bytes: bytes.slice() };
  if (bytes.length !== 16) throw new RangeError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
  if (isIp4Mapped(bytes)) return { version: 4, bytes: bytes.slice(12) };
  return { version: 6, bytes: bytes.slice() };
}

/** The canonical text: RFC 5952 for IPv6. Equal addresses give equal text, so it also serves as the key of a map. */
export function renderIp(address: IpAddress): string {
  return address.version === 4 ? address.bytes.join('.') : renderIp6(address.bytes);
}

/** Orders by version, then as numbers. */
export function compareIps(a: IpAddress, b: IpAddress): number {
  if (a.version !== b.version) return a.version - b.version;
  for (let i = 0; i < a.bytes.length; i++) {
    const difference = (a.bytes[i] ?? 0) - (b.bytes[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** 32 or 128: the length of a prefix that holds this one address. */
export function bitsOf(version: 4 | 6): 32 | 128 {
  return version === 4 ? 32 : 128;
}

function parseIp4(text: string): Parsed<IpAddress> {
  const parts = text.split('.');
  if (parts.length !== 4) return problem('an IPv4 address is four numbers, an IPv6 address has colons');
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    if (!/^[0-9]{1,3}$/.test(part)) return problem('each of the four parts is a number from 0 to 255');
    // Some readers take a leading zero for octal: the same text would be two addresses.
    if (part.length > 1 && part.startsWith('0')) return problem(`${part} has a leading zero`);
    const value = Number(part);
    if (value > 255) return problem(`${part} is greater than 255`);
    bytes[i] = value;
  }
  return { ok: true, value: { version: 4, bytes } };
}

/** The eight 16-bit groups. */
function parseIp6Groups(text: string): Parsed<number[]> {
  if (text.includes('%')) return problem('a zone (%) does not belong here');
  const halves = text.split('::');
  if (halves.length > 2) return problem('"::" can stand only once');
  const [headText = '', tailText] = halves;
  const head = parseGroups(headText, tailText === undefined);
  if (!head.ok) return head;
  if (tailText === undefined) {
    return head.value.length === 8 ? head : problem(`there are ${head.value.length} groups, not eight`);
  }
  const tail = parseGroups(tailText, true);
  if (!tail.ok) return tail;
  const missing = 8 - head.value.length - tail.value.length;
  if (missing < 1) return problem('there are too many groups beside the "::"');
  return { ok: true, value: [...head.value, ...new Array<number>(missing).fill(0), ...tail.value] };
}

/** Groups between colons; only at the end of the address may the last two be written as an IPv4 address. */
function parseGroups(text: string, isEnd: boolean): Parsed<number[]> {
  if (text === '') return { ok: true, value: [] };
  const parts = text.split(':');
  if (parts.length > 8) return problem('there are more than eight groups');
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (isEnd && i === parts.length - 1 && part.includes('.')) {
      const embedded = parseIp4(part);
      if (!embedded.ok) return embedded;
      const [a = 0, b = 0, c = 0, d = 0] = embedded.value.bytes;
      groups.push((a << 8) | b, (c << 8) | d);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return problem('each group is one to four hexadecimal digits');
    }
  }
  return groups.length > 8 ? problem('there are more than eight groups') : { ok: true, value: groups };
}

function bytesOfGroups(groups: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (const [i, group] of groups.entries()) view.setUint16(i * 2, group);
  return bytes;
}

/** ::ffff:0:0/96, RFC 4291 §2.5.5.2. */
function isIp4Mapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
}

function renderIp6(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(i * 2));
  const zeros = longestZeroRun(groups);
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  // RFC 5952 §4.2.2: a single zero group is not shortened.
  if (zeros.length < 2) return hex(groups);
  return `${hex(groups.slice(0, zeros.start))}::${hex(groups.slice(zeros.start + zeros.length))}`;
}

/** The first of the longest runs, RFC 5952 §4.2.3. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [i, group] of groups.entries()) {
    if (group !== 0) start = i + 1;
    else if (i + 1 - start > best.length) best = { start, length: i + 1 - start };
  }
  return best;
}

function problem(text: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem: text };
}
