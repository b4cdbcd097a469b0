// Which of the changes that `nft monitor` tells of are our own. It names a process, but the kernel counts those from the outside
// of containers; so each of our transactions is known by a chain that it adds. The order in which the kernel tells of changes
// then says whether what somebody else changed was there before ours, or is there now.

/** A chain that comes and goes to see whether the monitor listens. It changes nothing, whoever does it. */
export const PING = 'rf_ping';

interface Expected {
  readonly chain: string;
  /** Whether it leaves nothing of what was there before. */
  readonly isWhole: boolean;
}

export class OwnChanges {
  #expected: Expected[] = [];
  #waiting: (() => void)[] = [];
  #isForeign = false;

  /** Runs one transaction of ours, which adds `chain`. One that fails has changed nothing. */
  async run<T>(chain: string, isWhole: boolean, transaction: () => Promise<T>): Promise<T> {
    const expected = { chain, isWhole };
    this.#expected.push(expected);
    try {
      return await transaction();
    } catch (error) {
      this.#settle(expected);
      throw error;
    }
  }

  /** A generation that added `chains` has come to be, and changed the table: says whose it is. */
  see(chains: readonly string[]): 'own' | 'foreign' {
    if (chains.includes(PING)) return 'own';
    const ours = this.#expected.find(({ chain }) => chains.includes(chain));
    if (ours === undefined) {
      this.#isForeign = true;
      return 'foreign';
    }
    if (ours.isWhole) this.#isForeign = false;
    this.#settle(ours);
    return 'own';
  }

  /** Whether somebody else changed the table, and nothing of ours came after it that put everything in place. */
  get isForeign(): boolean {
    return this.#isForeign;
  }

  /** Settles when all changes of ours that are made have been told of, and with false when that takes too long. */
  async areSeen(limitMs: number): Promise<boolean> {
    if (this.#expected.length === 0) return true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    const timer = setTimeout(resolve, limitMs);
    await promise;
    clearTimeout(timer);
    return this.#expected.length === 0;
  }

  /** Some were never told of. */
  forget(): void {
    this.#expected = [];
    this.#wake();
  }

  #settle(expected: Expected): void {
    this.#expected = this.#expected.filter((one) => one !== expected);
    if (this.#expected.length === 0) this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
