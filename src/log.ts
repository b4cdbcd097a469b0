// The log: one readable line per event on stderr, or JSON for machines. Pino decides levels and redaction, without its
// worker threads. What may repeat without end goes through `limited`; a log that nobody reads ends nothing.

import { writeSync } from 'node:fs';
import { pino } from 'pino';

/** `verbose` is WireGuard's other word for `debug`. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug', 'verbose'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What a line says beside its message. Values of fields that are named like secrets are never written. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A log whose lines all carry these fields. */
  child(fields: LogFields): Log;
  /**
   * This log, if nothing was written under `key` for `intervalMs`, else one that only counts. The next line that is
   * written says how many were left out.
   */
  limited(key: string, intervalMs?: number): Log;
}

export interface LogOptions {
  /** Without it: `LOG_LEVEL` of the environment, or `info`. */
  readonly level?: LogLevel;
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
    level = environmentLevel(),
    format = 'text',
    write = writeStderr,
    now = () => performance.now(),
  } = options;
  const logger = pino(
    {
      level: level === 'verbose' ? 'debug' : level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (json: string) => write(format === 'json' ? json : renderLine(json)) },
  );
  return wrap(logger, new RateLimit(now));
}

/** `LOG_LEVEL`, as for wireguard-go. Other programs know other words: one that is not ours changes nothing. */
function environmentLevel(): LogLevel {
  const word = process.env['LOG_LEVEL']?.toLowerCase();
  return LOG_LEVELS.find((level) => level === word) ?? 'info';
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

const SILENT: Log = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  child: () => SILENT,
  limited: () => SILENT,
};

function wrap(logger: pino.Logger, rateLimit: RateLimit): Log {
  return {
    error: (message, fields = {}) => logger.error(redact(fields), message),
    warn: (message, fields = {}) => logger.warn(redact(fields), message),
    info: (message, fields = {}) => logger.info(redact(fields), message),
    debug: (message, fields = {}) => logger.debug(redact(fields), message),
    child: (fields) => wrap(logger.child(redact(fields)), rateLimit),
    limited: (key, intervalMs = DEFAULT_INTERVAL_MS) => {
      const leftOut = rateLimit.take(key, intervalMs);
      if (leftOut === null) return SILENT;
      return leftOut === 0 ? wrap(logger, rateLimit) : wrap(logger.child({ leftOut }), rateLimit);
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
