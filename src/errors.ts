// Every error a user can meet: one class per way to fail, one table of codes, one form on the terminal.
// Knows nothing of who throws or prints them. Codes are public: append, never rename, never reuse.

/** Each code and what it says, in one sentence. `docs/errors.md` is generated from this table. */
export const ERROR_CODES = {
  ERR_CONFIG_FILE: 'The configuration file cannot be read: it is missing, not a file, or not permitted.',
  ERR_CONFIG_SIZE: 'The configuration file is larger than any configuration is.',
  ERR_CONFIG_ENCODING: 'The configuration file is not UTF-8 text.',
  ERR_CONFIG_EMPTY: 'The configuration file says nothing.',
  ERR_CONFIG_SYNTAX: 'The configuration file is not valid YAML, or uses YAML in a way that is not supported.',
  ERR_CONFIG_ALIAS: 'A YAML alias names no anchor, contains itself, or aliases repeat too much.',
  ERR_CONFIG_DUPLICATE_KEY: 'One key is written twice in the same section.',
  ERR_CONFIG_UNKNOWN_KEY: 'A key is not one of those its section has.',
  ERR_CONFIG_MISSING_KEY: 'A key that its section needs is not there.',
  ERR_CONFIG_TYPE: 'A value is of the wrong kind: a list in place of text, for example.',
  ERR_CONFIG_NAME: 'The name of an interface or peer has characters or a length that it cannot have.',
  ERR_CONFIG_ADDRESS: 'An address is malformed, or not one that a host can have.',
  ERR_CONFIG_ROUTE: 'A network is malformed, or has bits set beyond its prefix length.',
  ERR_CONFIG_OVERLAP: 'Two peers, or a peer and this node, claim the same address or network.',
  ERR_CONFIG_ENDPOINT: 'An endpoint is not HOST:PORT.',
  ERR_CONFIG_PORT: 'A port is not a number in its range.',
  ERR_CONFIG_MTU: 'The MTU is not a number in its range, or too small for what the interface carries.',
  ERR_CONFIG_KEEPALIVE: 'The keepalive interval is not a number of seconds in its range.',
  ERR_CONFIG_KEY: 'A public key is malformed, or is that of another peer or of this node.',
  ERR_CONFIG_KEY_FILE: 'A key file is missing, cannot be read, or does not hold one key.',
  ERR_CONFIG_KEY_FILE_MODE: 'A key file can be read or written by others than its owner.',
  ERR_CONFIG_SECRET: 'A secret stands in the configuration file itself.',
  ERR_CONFIG_LISTEN: 'An address to serve at is not ADDRESS:PORT of one address, or the path of a socket.',
  ERR_CONFIG_GRANT: 'A row of the policy cannot be read, or says something that cannot be.',
  ERR_CONFIG_RATE: 'A rate or a quota is not an amount with its unit.',
  ERR_CONFIG_UNKNOWN_NAME: 'The policy names a peer, service, profile or site that is not there.',
  ERR_CONFIG_LOGGING: 'What is to be logged is none of the levels there are.',
  ERR_CONFIG_RESTART: 'A key was changed that a running node cannot take: it has to be started again.',
  ERR_CONFIG_SHADOWED:
    'A row of the policy never decides anything: another denies all of it, or says the same.',
  ERR_CONFIG_UNSUPPORTED: 'The value is meaningful, but this version cannot do it yet.',
  ERR_USAGE: 'The command line is wrong: an unknown command, option or argument.',
  ERR_KEY_INPUT: 'The key on standard input is not a key.',
  ERR_FILE_EXISTS: 'A file is in the way, and nothing is ever overwritten.',
  ERR_FILE_WRITE: 'A file could not be written.',
  ERR_NODE_PRIVILEGE: 'The system refuses what a node needs: CAP_NET_ADMIN or /dev/net/tun is missing.',
  ERR_NODE_INTERFACE: 'The tunnel interface could not be made or set up.',
  ERR_NODE_PORT: 'The UDP port could not be opened.',
  ERR_NODE_SOCKET: 'A control socket could not be made.',
  ERR_NODE_LISTEN: 'An address or socket to serve pages or names at could not be opened.',
  ERR_NODE_LANE: 'A lane, the thread that moves the packets, failed.',
  ERR_NODE_POLICY: 'The core refused a policy; the former one stays in force.',
  ERR_NODE_NOT_RUNNING: 'No node answers for this configuration or interface.',
  ERR_NODE_REQUEST: 'A running node was asked for something that it does not know, or not in this form.',
  ERR_NODE_BUSY: 'The node is at another change of this kind already.',
  ERR_NODE_RELOAD: 'A reload failed half way, and not all that it had done could be taken back.',
  ERR_NODE_START: 'A program that was to run in the background ended before it was ready.',
  ERR_NODE_DEVICE: 'A WireGuard device refused what it was asked over its UAPI socket.',
  ERR_NODE_HOST_COMMAND:
    'A command of the host, such as `ip`, or a hook of a wg-quick file failed or is missing.',
  ERR_JOIN_FILE: 'A file to join with is none, was changed on the way, or cannot be read.',
  ERR_JOIN_FILE_MODE: 'An invite can be read or written by others than its owner.',
  ERR_JOIN_NAME: 'The name of an invite is taken, or is none that a peer can have.',
  ERR_JOIN_PROFILE: 'The profile of an invite is none that the node has.',
  ERR_JOIN_ADDRESSES: 'No address of the network is free for a node that is invited.',
  ERR_JOIN_LIMIT: 'Too many invites are open.',
  ERR_JOIN_USED: 'Another node has joined with this invite.',
  ERR_JOIN_EXPIRED: 'The invite is over.',
  ERR_JOIN_REVOKED: 'The invite was taken back.',
  ERR_JOIN_CLOCK: 'The clocks of a node that joins and of the one that invited it are too far apart.',
  ERR_JOIN_UNREACHABLE: 'The node that sent an invite does not answer.',
  ERR_JOIN_REFUSED: 'The node that sent an invite cannot take the new one in.',
  ERR_FIREWALL_BACKEND: 'Nothing on this host can apply the rules that the file asks for.',
  ERR_FIREWALL_COMMAND: 'A command that reads or changes the rules of the host failed, hung or is missing.',
  ERR_FIREWALL_NETWORK: 'Another node on this host has rules under the same firewall.network.',
  ERR_FIREWALL_CONFIRM: 'Rules that had to be confirmed were not, and were taken back.',
  ERR_ROTATE_PEER: 'A key of a peer was to be changed that the node does not have.',
  ERR_ROTATE_BUSY: 'A rotation of this key is under way, here or on the other side.',
  ERR_ROTATE_NONE: 'No rotation is under way that could be ended.',
  ERR_ROTATE_UNANSWERED: 'A peer does not answer a handshake that was asked for.',
  ERR_ROTATE_UNCONFIRMED: 'The old key is the last that works: no handshake was made with the new one yet.',
  ERR_BENCH_RESULT:
    'A saved result of the benchmark cannot be read, or is not one that this version understands.',
  ERR_BENCH_MACHINE:
    'This machine lacks what a measurement needs: private namespaces, TUN devices, or a program.',
  ERR_BENCH_PLOTS:
    'The page of a benchmark needs its plots drawn, and the package that draws them is not installed.',
  ERR_INTERNAL: 'A bug in ringfence.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Where in a file something stands. Lines and columns count from 1; `path` is the key's, as in `peers.alice.routes[1]`, or empty. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly path: string;
}

/** One thing wrong in a file. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly place: Place;
  /** What to do about it. */
  readonly hint?: string | undefined;
}

export interface ErrorDetails {
  readonly hint?: string | undefined;
  readonly place?: Place | undefined;
  readonly cause?: unknown;
}

/** What ringfence throws outside the packet path. Match on `code`, never on the message. No secret is ever in either. */
export class RingfenceError extends Error {
  override readonly name: string = 'RingfenceError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly place: Place | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.place = details.place;
  }
}

/** A configuration that cannot be used: every problem of the file, in file order. `code`, `hint` and `place` are those of the first. */
export class ConfigError extends RingfenceError {
  override readonly name = 'ConfigError';
  readonly problems: readonly Problem[];

  constructor(problems: readonly [Problem, ...Problem[]], cause?: unknown) {
    const files = [...new Set(problems.map(({ place }) => place.file))];
    const sorted = problems.toSorted(
      (a, b) =>
        files.indexOf(a.place.file) - files.indexOf(b.place.file) ||
        a.place.line - b.place.line ||
        a.place.column - b.place.column,
    );
    const first = sorted[0] ?? problems[0];
    super(first.code, sorted.map(renderProblem).join('\n'), { hint: first.hint, place: first.place, cause });
    this.problems = sorted;
  }
}

/** A command line that means nothing. */
export class UsageError extends RingfenceError {
  override readonly name = 'UsageError';
}

/** A node that cannot start, or ended without being asked to. */
export class NodeError extends RingfenceError {
  override readonly name = 'NodeError';
}

/** Which command on the host's rules failed, and what it left. */
export interface FirewallFailure {
  readonly phase: 'detect' | 'apply' | 'open' | 'test' | 'remove';
  /** With its arguments. */
  readonly command: string;
  /** Of what it was given on standard input, the line it names, counted from 1; null where it names none. */
  readonly line: number | null;
  readonly stderr: string;
  /** Whether the rules from before still stand. */
  readonly restored: boolean;
}

/** The host's rules could not be read or changed. */
export class FirewallError extends RingfenceError {
  override readonly name = 'FirewallError';
  readonly failure: FirewallFailure;

  constructor(code: ErrorCode, message: string, failure: FirewallFailure, details: ErrorDetails = {}) {
    super(code, message, details);
    this.failure = failure;
  }
}

/** What the process returns: 0 fine, 1 failed while running, 2 wrong usage or configuration. */
export function exitCodeOf(error: unknown): 1 | 2 {
  return error instanceof RingfenceError ? exitCodeOfCode(error.code) : 1;
}

/** Beside those of the configuration, the codes that are the caller's to mend before anything can run. */
const USAGE_CODES: readonly ErrorCode[] = [
  'ERR_USAGE',
  'ERR_KEY_INPUT',
  'ERR_FILE_EXISTS',
  'ERR_BENCH_RESULT',
];

/** What the process returns after an error of this code. */
export function exitCodeOfCode(code: ErrorCode): 1 | 2 {
  return code.startsWith('ERR_CONFIG_') || USAGE_CODES.includes(code) ? 2 : 1;
}

/** What was thrown, in words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The code of an error that has one, of ours or of the system, such as `ENOENT`; else empty. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** `FILE:LINE:COLUMN: path: what is wrong (ERR_CODE)`. */
export function renderProblem(problem: Problem): string {
  const { file, line, column, path } = problem.place;
  const subject = path === '' ? '' : `${path}: `;
  return `${file}:${line}:${column}: ${subject}${problem.message} (${problem.code})`;
}
