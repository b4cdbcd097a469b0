// Notices at once when somebody takes the rules away, by `nft monitor`, and has them put back. The kernel tells which process
// did it. Two programs that put back their rules in turn would never end: after a few times it waits longer and longer.

import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { IptablesMonitor } from './iptables-monitor.ts';
import { changerOf, MONITOR_RETRY_MS, monitorLines } from './nft-monitor.ts';
import type { OwnChanges } from './own-changes.ts';

/** Something happened to the table, or may have. */
export interface TableChange {
  /** Whether it may be put back; else it is only looked at. */
  readonly mayAct: boolean;
  /** Whether somebody else is known to have changed it; else it is to be looked at. */
  readonly isCertain: boolean;
  /** Whether rules may be missing, so that what is to be denied may pass. */
  readonly isOpen: boolean;
}

export interface RulesetGuardOptions {
  /** What is watched, for a sentence: `table inet rf_home0`. */
  readonly rules: string;
  /** The table of ours as the monitor names it: `inet rf_home0`. */
  readonly touches: string;
  /** How the comments of our rules in chains of others begin. */
  readonly mark: string;
  readonly log: Log;
  /** Puts the table back where it is not as we left it, and says whether it was not. */
  readonly restoreTable: (change: TableChange) => Promise<boolean>;
  /** Which changes of the table are ours; null where no monitor tells of any. */
  readonly changes: OwnChanges | null;
  /** A digest of all rules, to be asked for again and again where no monitor tells of changes; else null. */
  readonly look: (() => Promise<string | null>) | null;
  /** How our chains of iptables begin, where `nft monitor` tells of their changes; else null. */
  readonly toldChains: string | null;
  /** Makes a change that amounts to none: a monitor that listens tells of it. */
  readonly ping: () => Promise<void>;
  /** Puts openings back where they are missing, and says whether any was. */
  readonly restoreOpenings: () => Promise<boolean>;
}

/** Others change their rules in many small steps: their chains are looked at so long after the first. */
const SETTLE_MS = 200;
/** So often in a minute is an accident; more often is a fight. */
const FIGHT_COUNT = 5;
const FIGHT_WINDOW_MS = 60_000;
const FIRST_PAUSE_MS = 2_000;
const LAST_PAUSE_MS = 60_000;
/** A monitor tells of thousands of elements of our own within a second; what it lost it never tells of. */
const SEEN_LIMIT_MS = 5_000;
/** How often iptables is asked, where nobody tells of its changes and where nft does; and chains that are not its own. */
const POLL_MS = 400;
const TOLD_POLL_MS = 2_000;
const LISTING_MS = 10_000;
/** Thousands of rules are long to list: it rests so many times as long as that took. */
const POLL_REST = 4;
/** It is asked so often whether it listens, and a start waits no longer than that. */
const PING_MS = 20;
const LISTEN_LIMIT_MS = 5_000;

/** A line of the monitor about what a table holds. An `update` of a dynamic set is no business of ours. */
const TOUCH =
  /^(add|insert|replace|delete|destroy) (table|chain|rule|set|map|element|counter) (\S+ \S+) ?(\S*)/;
/** It says so when events overrun its socket (ENOBUFS). */
const LOST = /^# ERROR: /;

export class RulesetGuard implements AsyncDisposable {
  readonly #options: RulesetGuardOptions;
  readonly #end = new AbortController();
  /** When the rules were put back lately. */
  #times: number[] = [];
  #lastMs = 0;
  #pauseMs = 0;
  #restored = 0;
  /** Work on the rules, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #settling: NodeJS.Timeout | null = null;
  #resting: NodeJS.Timeout | null = null;
  /** Whether something changed during the last look or after it, and who waits for that. */
  #isNew = false;
  #waking: (() => void) | null = null;
  #running: Promise<void> = Promise.resolve();
  readonly #listening = Promise.withResolvers<void>();
  /** Whether the monitor that runs has told anything. */
  #hasHeard = false;
  /** What the lines of a generation that has not ended say of the table. */
  #touchesTable = false;
  #deletesRules = false;
  #addedChains: string[] = [];
  /** Of what somebody else did that is not mended yet. */
  #isOpen = false;
  /** Whether changes were not told of, so that only a look can say what is there. */
  #isUnknown = false;
  /** Whether they are about the table of a self-test, and whether about anything else. */
  #touchesProbe = false;
  #touchesOthers = false;

  private constructor(options: RulesetGuardOptions) {
    this.#options = options;
  }

  /** Settles when the monitor runs. */
  static async start(options: RulesetGuardOptions): Promise<RulesetGuard> {
    const guard = new RulesetGuard(options);
    if (options.look !== null) {
      guard.#running = guard.#poll(options.look);
      return guard;
    }
    guard.#running = guard.#monitor();
    await Promise.race([guard.#listening.promise, guard.#pause(LISTEN_LIMIT_MS)]);
    return guard;
  }

  /** How often the rules were put back. */
  get restored(): number {
    return this.#restored;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    if (this.#settling !== null) clearTimeout(this.#settling);
    if (this.#resting !== null) clearTimeout(this.#resting);
    await this.#running;
    await this.#work;
  }

  /** iptables tells nobody of changes; where nft tells of them, who made one is known, and it is looked at at once. */
  async #poll(look: () => Promise<string | null>): Promise<void> {
    const { toldChains } = this.#options;
    const monitor = toldChains === null ? null : new IptablesMonitor(toldChains, () => this.#wake());
    const running = monitor?.run(this.#end.signal);
    const who = (): string => monitor?.takeWho() ?? 'somebody';
    let [seen, listedMs]: [string | null, number] = [null, performance.now()];
    while (!this.#end.signal.aborted) {
      const began = performance.now();
      this.#isNew = false;
      const now = await look().catch(() => null);
      if (now !== seen) this.#do(async () => await this.#restoreTable(who));
      // Chains of others that iptables does not list change, too.
      if (now !== seen || began - listedMs > LISTING_MS) {
        this.#settle('somebody');
        listedMs = began;
      }
      seen = now;
      await this.#pause((performance.now() - began) * POLL_REST);
      if (!this.#isNew) await this.#pause(monitor?.isListening === true ? TOLD_POLL_MS : POLL_MS, true);
    }
    await running;
  }

  /** Something has changed: whoever pauses until then goes on. */
  #wake(): void {
    this.#isNew = true;
    this.#waking?.();
  }

  async #monitor(): Promise<void> {
    const { signal } = this.#end;
    while (!signal.aborted) {
      this.#hasHeard = false;
      this.#options.changes?.forget(); // it will not tell of what was before
      const listening = this.#awaitMonitor();
      for await (const line of monitorLines(signal)) this.#read(line);
      this.#hasHeard = true; // or never will
      await listening;
      if (!signal.aborted) await this.#pause(MONITOR_RETRY_MS);
    }
  }

  /** Until it listens, nothing is noticed: then what may have happened before is looked at. */
  async #awaitMonitor(): Promise<void> {
    while (!this.#hasHeard && !this.#end.signal.aborted) {
      await this.#options.ping().catch(() => undefined);
      await this.#pause(PING_MS);
    }
    this.#lookAgain();
    this.#listening.resolve();
  }

  /** After changes that were not told of. */
  #lookAgain(): void {
    this.#isUnknown = true;
    this.#do(async () => await this.#restoreTable(() => 'somebody'));
  }

  #read(line: string): void {
    this.#hasHeard = true;
    if (LOST.test(line)) this.#lookAgain();
    const { touches, changes } = this.#options;
    const who = changerOf(line);
    if (who === null) {
      const [, verb, kind, name, part = ''] = TOUCH.exec(line) ?? [];
      if (name?.startsWith(`${touches}.probe.`) === true) this.#touchesProbe = true;
      else if (!line.startsWith('#')) this.#touchesOthers = true;
      if (name !== touches) return;
      this.#touchesTable = true;
      if (kind === 'rule' && verb !== 'add' && verb !== 'insert') this.#deletesRules = true;
      if (kind === 'chain' && verb === 'add') this.#addedChains.push(part);
      return;
    }
    const isProbe = this.#touchesProbe && !this.#touchesOthers;
    this.#touchesProbe = false;
    this.#touchesOthers = false;
    if (isProbe) return; // which changes nothing, and would otherwise ask for the next one
    const isOwn = this.#touchesTable && changes?.see(this.#addedChains) === 'own';
    if (this.#touchesTable && !isOwn) {
      this.#isOpen ||= this.#deletesRules;
      this.#do(async () => await this.#restoreTable(() => who));
    }
    this.#touchesTable = false;
    this.#deletesRules = false;
    this.#addedChains = [];
    if (!isOwn) this.#settle(who); // ours is of our table alone
  }

  /** `whoIs` is asked once it is known that somebody was. */
  async #restoreTable(whoIs: () => string): Promise<void> {
    const { log, rules, changes } = this.#options;
    if (this.#resting !== null) return;
    if (changes !== null && !(await changes.areSeen(SEEN_LIMIT_MS))) {
      this.#isUnknown = true;
      changes.forget();
    }
    const isCertain = changes?.isForeign === true;
    if (changes !== null && !isCertain && !this.#isUnknown) return;
    const isFight = this.#isFight();
    const isOpen = this.#isOpen || !isCertain;
    this.#isUnknown = false;
    const change = { mayAct: !isFight, isCertain, isOpen };
    const isChanged = await this.#options.restoreTable(change).catch((error: unknown) => {
      this.#isUnknown = true;
      this.#tryAgain(whoIs, FIRST_PAUSE_MS);
      throw error;
    });
    if (!isChanged) return;
    const who = whoIs();
    if (isFight) {
      this.#isUnknown = !isCertain;
      return this.#rest(who);
    }
    this.#isOpen = false;
    this.#restored += 1;
    this.#lastMs = performance.now();
    this.#times.push(this.#lastMs);
    log.warn(`${who} changed the ${rules}: it is put back`);
  }

  /** Leaves the field to the other for a while, each time for longer. */
  #rest(who: string): void {
    this.#pauseMs = Math.min(Math.max(FIRST_PAUSE_MS, this.#pauseMs * 2), LAST_PAUSE_MS);
    const seconds = this.#pauseMs / 1000;
    this.#options.log.error(
      `${who} keeps changing the ${this.#options.rules}: it is put back again in ${seconds} s. Which program is it, and why?`,
    );
    this.#tryAgain(() => who, this.#pauseMs);
  }

  #tryAgain(whoIs: () => string, pauseMs: number): void {
    if (this.#end.signal.aborted) return;
    this.#resting = setTimeout(() => {
      this.#resting = null;
      this.#times = [];
      this.#do(async () => await this.#restoreTable(whoIs));
    }, pauseMs);
  }

  #isFight(): boolean {
    const now = performance.now();
    this.#times = this.#times.filter((time) => now - time < FIGHT_WINDOW_MS);
    if (now - this.#lastMs > FIGHT_WINDOW_MS) this.#pauseMs = 0;
    return this.#times.length >= FIGHT_COUNT;
  }

  /** Chains of others are looked at once they have had time to finish. */
  #settle(who: string): void {
    if (this.#settling !== null) return;
    this.#settling = setTimeout(() => {
      this.#settling = null;
      this.#do(async () => {
        if (!(await this.#options.restoreOpenings())) return;
        this.#restored += 1;
        this.#options.log.warn(
          `${who} changed its rules: the openings of ${this.#options.mark} are put back`,
        );
      });
    }, SETTLE_MS);
  }

  #do(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error: unknown) => {
      this.#options.log.error(`the host's rules could not be put back: ${messageOf(error)}`);
    });
  }

  /** `untilNews`: or until something has changed. */
  async #pause(milliseconds: number, untilNews = false): Promise<void> {
    const { signal } = this.#end;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#waking = null;
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener('abort', done);
      if (untilNews) this.#waking = done;
    });
  }
}
