// The log: one line per event on stderr, to read on a terminal and JSON elsewhere. Pino decides levels and redaction, without
// its worker threads. What may repeat without end goes through `limited`; a log that nobody reads ends nothing.

import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { pino } from 'pino';

/** `verbose` is WireGuard's other word for `debug`. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug', 'verbose'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What a line says beside its message. Values of fields that are named like secrets are never written. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes lines. */
export interface LogLines {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}

export interface Log extends LogLines {
  /** What is written from now on, also by what {@link child} gave before. */
  level: LogLevel;
  /** A log whose lines all carry these fields. */
  child(fields: LogFields): Log;
  /**
   * This log, if nothing was written under `key` for `intervalMs`, else one that only counts. The next line that is
   * written says how many were left out.
   */
  limited(key: string, intervalMs?: number): LogLines;
}

export interface LogOptions {
  /** Without it: `LOG_LEVEL` of the environment, or `info`. */
  readonly level?: LogLevel;
  /** Without it: `text` where stderr is a terminal, else `json`. */
  readonly format?: LogFormat;
  /** Takes one finished line. Without it: stderr. */
  readonly write?: (line: string) => void;
  /** Milliseconds that never go back. */
  readonly now?: () => number;
}

const NESTING_LIMIT = 5;
const DEFAULT_INTERVAL_MS = 60_000;
/** Keys are a few fixed words; should one be made of packets after all, memory stays bounded. */
const LIMITED_KEYS = 1000;
/** Field names, at any depth, whose values are never written. Public keys are no secret. */
const SECRET_NAME = /private|preshared|psk|secret|password|token/i;

export function createLog(options: LogOptions = {}): Log {
  const {
    level = environmentLevel() ?? 'info',
    format = isatty(2) ? 'text' : 'json',
    write = writeStderr,
    now = () => performance.now(),
  } = options;
  const logger = pino(
    {
      level: 'debug', // what is written, the switch decides: children of pino keep the level they were born with
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (json: string) => write(format === 'json' ? json : renderLine(json)) },
  );
  return wrap(logger, { level }, new RateLimit(now));
}

type Severity = 'error' | 'warn' | 'info' | 'debug';

/** The level of a log and all that was made from it. */
interface LevelSwitch {
  level: LogLevel;
}

/** From the most important on: a level writes its own lines and those before it. */
const RANKS: Readonly<Record<LogLevel, number>> = {
  silent: 0,
  error: 1,
  warn: 2,
  info: 3,
  debug: 4,
  verbose: 4,
};

/** `LOG_LEVEL`, as for wireguard-go. Other programs know other words: one that is not ours changes nothing. */
export function environmentLevel(): LogLevel | null {
  const word = process.env['LOG_LEVEL']?.toLowerCase();
  return LOG_LEVELS.find((level) => level === word) ?? null;
}

/** What `limited` remembers: when a key last wrote, and what it left out since. */
class RateLimit {
  readonly #now: () => number;
  readonly #keys = new Map<string, { writtenAtMs: number; leftOut: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** How many were left out before this one, or null if it is itself to be left out. */
  take(key: string, intervalMs: number): number | null {
    const nowMs = this.#now();
    const entry = this.#keys.get(key);
    if (entry !== undefined && nowMs - entry.writtenAtMs < intervalMs) {
      entry.leftOut += 1;
      return null;
    }
    this.#keys.delete(key); // and to the end of the map, whose first is the oldest
    this.#keys.set(key, { writtenAtMs: nowMs, leftOut: 0 });
    if (this.#keys.size > LIMITED_KEYS) this.#keys.delete(this.#keys.keys().next().value ?? key);
    return entry?.leftOut ?? 0;
  }
}

const SILENT: LogLines = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
};

function wrap(logger: pino.Logger, own: LevelSwitch, rateLimit: RateLimit): Log {
  const writer =
    (severity: Severity) =>
    (message: string, fields: LogFields = {}): void => {
      if (RANKS[severity] <= RANKS[own.level]) logger[severity](redact(fields), message);
    };
  return {
    get level() {
      return own.level;
    },
    set level(level) {
      own.level = level;
    },
    error: writer('error'),
    warn: writer('warn'),
    info: writer('info'),
    debug: writer('debug'),
    child: (fields) => wrap(logger.child(redact(fields)), own, rateLimit),
    limited(key, intervalMs = DEFAULT_INTERVAL_MS) {
      const leftOut = rateLimit.take(key, intervalMs);
      if (leftOut === null) return SILENT;
      return leftOut === 0 ? this : wrap(logger.child({ leftOut }), own, rateLimit);
    },
  };
}

/**
 * Fields without secrets: by name, and no bytes at all, for they may be a key under any name. Pino's own redaction takes
 * paths, and so misses what is nested deeper than somebody thought of.
 */
function redact(fields: LogFields): Record<string, unknown> {
  return redactValue(fields, 0) as Record<string, unknown>;
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Error) return value.message;
  if (depth >= NESTING_LIMIT) return '[nested]';
  if (Array.isArray(value)) return value.map((item) => redactValue(item, depth + 1));
  const entries = Object.entries(value).map(([name, inner]) => [
    name,
    SECRET_NAME.test(name) ? '[secret]' : redactValue(inner, depth + 1),
  ]);
  return Object.fromEntries(entries);
}

/** `2026-05-01T10:00:00.000Z info  handshake complete peer=alice`. */
function renderLine(json: string): string {
  const { time, level, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const pairs = Object.entries(fields).map(([key, value]) => ` ${renderText(key)}=${renderValue(value)}`);
  return `${time} ${String(level).padEnd(5)} ${renderText(String(msg))}${pairs.join('')}\n`;
}

function renderValue(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=\p{Cc}\p{Cf}]+$/u.test(value)) return value;
  return renderText(JSON.stringify(value));
}

/** One event is one line, and moves no cursor. */
function renderText(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** A reader that is gone (EPIPE) or does not keep up (EAGAIN) loses lines; the node goes on. */
function writeStderr(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // There is nowhere left to say it.
  }
}
