// Who changes the rules of iptables-nft, and when: iptables itself tells nobody, but its rules are those of nft to the kernel.
// What has become of ours is for a look to say; nothing is decided by what is told here.

import { setTimeout as delay } from 'node:timers/promises';
import { changerOf, MONITOR_RETRY_MS, monitorLines } from './nft-monitor.ts';

/** A line about one of the tables of iptables. */
const TOUCH =
  /^(?:add|create|insert|replace|delete|destroy) (?:table|chain|rule) ip6? (?:raw|mangle|nat|filter)\b/;

export class IptablesMonitor {
  /** Our own changes all have a jump to one of our chains. */
  readonly #ownJump: RegExp;
  readonly #onChange: () => void;
  #isListening = false;
  #who: string | null = null;
  /** What the lines of a generation that has not ended are about. */
  #touches = false;
  #isOwn = false;

  /** `chains`: how the names of our chains begin. `onChange` is called when somebody else has changed something. */
  constructor(chains: string, onChange: () => void) {
    this.#ownJump = new RegExp(`^(?:add|insert) rule .* jump ${chains}`);
    this.#onChange = onChange;
  }

  /** Whether a change would be told of: it has told something, and has not ended. */
  get isListening(): boolean {
    return this.#isListening;
  }

  /** Who changed something last since this was last asked; null: nobody that is known. */
  takeWho(): string | null {
    const who = this.#who;
    this.#who = null;
    return who;
  }

  /** Listens until `signal`. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      for await (const line of monitorLines(signal)) this.#read(line);
      this.#isListening = false;
      await delay(MONITOR_RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  #read(line: string): void {
    this.#isListening = true;
    const who = changerOf(line);
    if (who === null) {
      this.#touches ||= TOUCH.test(line);
      this.#isOwn ||= this.#ownJump.test(line);
      return;
    }
    const isForeign = this.#touches && !this.#isOwn;
    this.#touches = false;
    this.#isOwn = false;
    if (!isForeign) return;
    this.#who = who;
    this.#onChange();
  }
}
