// The time that handshakes carry. A peer takes only initiations newer than all before, so this time must not go back:
// not when the host's clock does, and not over a restart. One offset to the clock of lanes is chosen at the start and
// kept; a file remembers how far the time may have come.
//
//   file says ─┐
//              ├─ the later ─▶ offset ─▶ every lane ─▶ timestamps      file ◀── a little ahead of the time, now and then
//   host's clock ┘
//
// What the file says lies ahead by as long as the node has run, ten minutes at most, so that it is written seldom and a
// crash costs little: the time after it leads by no more than the node had run. A clean stop writes the very second.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, messageOf } from '../errors.ts';
import { laneClockMs } from '../lane/clock.ts';
import type { Log } from '../log.ts';
import { replaceFile } from './replace-file.ts';

const LEAST_LEAD_S = 2;
const MOST_LEAD_S = 600;
/** Beyond this the host's clock, or the one before it, is wrong. */
const SUSPICIOUS_S = 3_600;
const YEAR_S = 365 * 86_400;

/** Where nodes keep what has to outlive them: `$RINGFENCE_STATE_DIR`, or /var/lib/ringfence. */
export function stateDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return environment['RINGFENCE_STATE_DIR'] || '/var/lib/ringfence';
}

export interface HandshakeClockOptions {
  readonly directory: string;
  readonly interfaceName: string;
  readonly log: Pick<Log, 'warn'>;
  /** The clock of lanes and the host's, in milliseconds; tests set them. */
  readonly laneClock?: () => number;
  readonly wallClock?: () => number;
}

export class HandshakeClock {
  /** Whole seconds to be added to the clock of lanes. */
  readonly offsetSeconds: number;
  readonly #file: string;
  readonly #log: Pick<Log, 'warn'>;
  readonly #laneClock: () => number;
  readonly #startedSeconds: number;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #hasFailed = false;

  private constructor(file: string, floorSeconds: number, options: HandshakeClockOptions) {
    const { log, laneClock = laneClockMs, wallClock = Date.now } = options;
    this.#file = file;
    this.#log = log;
    this.#laneClock = laneClock;
    this.#startedSeconds = Math.floor(laneClock() / 1000);
    const wallOffset = Math.ceil((wallClock() - laneClock()) / 1000);
    this.offsetSeconds = Math.max(wallOffset, floorSeconds - this.#startedSeconds);
    const behind = this.offsetSeconds - wallOffset;
    if (behind > SUSPICIOUS_S) log.warn(suspicion(behind, file));
  }

  /** Chooses the time and writes down that it is in use. Never fails: without its file it says so, and goes by the host's clock. */
  static async start(options: HandshakeClockOptions): Promise<HandshakeClock> {
    const file = join(options.directory, `${options.interfaceName}.handshake-clock.json`);
    const clock = new HandshakeClock(file, await readFloor(file, options.log), options);
    await clock.#reserve();
    return clock;
  }

  /** The time that a handshake would carry now, in seconds since 1970. */
  get seconds(): number {
    return Math.floor(this.#laneClock() / 1000) + this.offsetSeconds;
  }

  /** Ends it, once no lane runs any more. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#writing;
    await this.#write(this.seconds + 1);
  }

  async #reserve(): Promise<void> {
    const ranSeconds = Math.floor(this.#laneClock() / 1000) - this.#startedSeconds;
    const lead = Math.min(Math.max(ranSeconds, LEAST_LEAD_S), MOST_LEAD_S);
    this.#timer = setTimeout(() => {
      this.#writing = this.#reserve();
    }, lead * 500);
    this.#timer.unref();
    await this.#write(this.seconds + 1 + lead);
  }

  async #write(floorSeconds: number): Promise<void> {
    try {
      await replaceFile(this.#file, `${JSON.stringify({ floorSeconds })}\n`);
      this.#hasFailed = false;
    } catch (error) {
      if (this.#hasFailed) return;
      this.#hasFailed = true;
      this.#log.warn(
        `cannot keep the time of handshakes in ${this.#file}: ${messageOf(error)}. Should this host's clock be behind ` +
          'after a restart, peers will refuse this node until it catches up: set RINGFENCE_STATE_DIR to a folder ' +
          'this user may write to',
      );
    }
  }
}

/** What the file says, 0 without one. A file that says nothing sensible is passed over with a warning. */
async function readFloor(file: string, log: Pick<Log, 'warn'>): Promise<number> {
  try {
    const read: unknown = JSON.parse(await readFile(file, 'utf8'));
    const floor = typeof read === 'object' && read !== null && 'floorSeconds' in read && read.floorSeconds;
    if (typeof floor !== 'number' || !Number.isSafeInteger(floor) || floor < 0)
      throw new Error('it has no floorSeconds');
    return floor;
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'ENOENT') {
      log.warn(
        `cannot read the time of earlier handshakes from ${file}: ${messageOf(error)}. Going by the host's clock`,
      );
    }
    return 0;
  }
}

function suspicion(behindSeconds: number, file: string): string {
  const years = Math.floor(behindSeconds / YEAR_S);
  const hours = Math.floor(behindSeconds / 3_600);
  const behind =
    years > 0 ? `${years} years` : hours > 48 ? `${Math.floor(hours / 24)} days` : `${hours} hours`;
  const about = `this host's clock is ${behind} behind the handshakes it has made (${file}): they go on from there. Set the clock`;
  return years > 0
    ? `${about}. If it is right, it was once wrong by years: peers take nothing older, so only a new key makes this good`
    : about;
}
