// What peers and services have used, over every lane and every start of the program: the core counts from its start, here
// that is added up, written down, and told as what is left of each quota.
//
//   core ── counts since its start ──▶ differences ──▶ totals ──▶ file, now and then
//                                                        └─ less the mark of the period ──▶ allowances ──▶ core

import type {
  AccountStatus,
  PeerAccountStatus,
  ServiceAccountStatus,
  TallyStatus,
} from '../control/target.ts';
import { laneClockMs } from '../lane/clock.ts';
import type { LaneMeters, LaneTally } from '../lane/messages.ts';
import type { Log } from '../log.ts';
import type { Allowances } from '../policy/compiled.ts';
import type { Policy, PolicyPeer, Profile, Quota } from '../policy/model.ts';
import { markPeriod, periodEnd } from '../policy/period.ts';
import { type Account, type AccountBook, AccountsFile } from './accounts-file.ts';

/** A crash forgets what was counted in so much time. */
const WRITE_MS = 10_000;
/** Accounts of peers and services that the policy no longer names are kept up to so many, for they may come back. */
const MOST_FORMER = 1_000;

const NOTHING: LaneTally = { bytes: 0n, packets: 0n, flows: 0n };
const NEW: Account = { up: NOTHING, down: NOTHING, quota: null };

export interface AccountsOptions {
  readonly directory: string;
  readonly interfaceName: string;
  readonly log: Pick<Log, 'warn'>;
  /** The host's clock in milliseconds; tests set it. */
  readonly wallClock?: () => number;
}

/** The names behind numbers of a device: null for what is gone. */
export interface AccountNames {
  readonly peer: (id: number) => string | null;
  /** By the number of its row. */
  readonly service: (rule: number) => string | null;
}

/** What the running lane has counted, by the device's numbers: they are never given to another peer. */
interface Counted {
  readonly peers: Map<number, Pick<Account, 'up' | 'down'>>;
  readonly services: Map<number, Pick<Account, 'up' | 'down'>>;
}

export class Accounts {
  readonly #file: AccountsFile;
  readonly #book: AccountBook;
  readonly #wallClock: () => number;
  #counted: Counted = { peers: new Map(), services: new Map() };
  /** A lane that started before this is gone. */
  #laneSinceMs = 0;
  #isChanged = false;
  #writtenMs = laneClockMs();

  private constructor(file: AccountsFile, book: AccountBook, wallClock: () => number) {
    this.#file = file;
    this.#book = book;
    this.#wallClock = wallClock;
  }

  /** Begins with what the file says. */
  static async start(options: AccountsOptions): Promise<Accounts> {
    const file = new AccountsFile(options.directory, options.interfaceName, options.log);
    return new Accounts(file, await file.read(), options.wallClock ?? Date.now);
  }

  /** Another lane is about to start, whose core has counted nothing: what it may let each peer of the policy use. */
  beginLane(policy: Policy | null): Allowances {
    this.#counted = { peers: new Map(), services: new Map() };
    this.#laneSinceMs = laneClockMs();
    return policy === null ? new Map() : this.allowances(policy, () => undefined);
  }

  /** Adds what a lane has counted since it was asked last. A lane that is gone is too late. */
  take({ startedMs, peers, services }: LaneMeters, names: AccountNames): void {
    if (startedMs < this.#laneSinceMs) return;
    this.#add(peers, this.#counted.peers, this.#book.peers, names.peer);
    this.#add(services, this.#counted.services, this.#book.services, names.service);
  }

  #add(
    rows: LaneMeters['peers'],
    counted: Counted['peers'],
    accounts: Map<string, Account>,
    nameOf: (id: number) => string | null,
  ): void {
    for (const { id, up, down } of rows) {
      const former = counted.get(id) ?? NEW;
      counted.set(id, { up, down });
      const name = nameOf(id);
      if (name === null) continue;
      const account = accounts.get(name) ?? NEW;
      accounts.set(name, {
        ...account,
        up: sum(account.up, less(up, former.up)),
        down: sum(account.down, less(down, former.down)),
      });
      this.#isChanged = true;
    }
  }

  /**
   * How many bytes each peer with a quota may use, by the count of the running lane. `idOf` tells a peer's number there, if
   * it is there. The same until the period ends or the policy changes.
   */
  allowances(policy: Policy, idOf: (peer: PolicyPeer) => number | undefined): Allowances {
    const profiles = new Map(policy.profiles.map((profile) => [profile.id, profile]));
    const allowances = new Map<string, bigint>();
    for (const peer of policy.peers) {
      const quota = quotaOf(profiles, peer);
      if (quota === null) continue;
      const id = idOf(peer);
      const counted = id === undefined ? 0n : bytesOf(this.#counted.peers.get(id) ?? NEW);
      const used = this.#markedAccount(peer.name, quota).usedBytes;
      const left = BigInt(quota.bytes) - used + counted;
      allowances.set(peer.name, left > 0n ? left : 0n);
    }
    return allowances;
  }

  /** Everybody whom the policy limits, or who has used something, in file order. */
  peers(policy: Policy): PeerAccountStatus[] {
    const profiles = new Map(policy.profiles.map((profile) => [profile.id, profile]));
    return policy.peers.flatMap((peer) => {
      const rate = (peer.profile === null ? undefined : profiles.get(peer.profile))?.rate ?? null;
      const quota = quotaOf(profiles, peer);
      const account = this.#book.peers.get(peer.name);
      if (account === undefined && rate === null && quota === null) return [];
      return {
        peer: peer.name,
        ...accountStatus(account ?? NEW),
        rate: rate && { up: rate.up, down: rate.down },
        quota: quota && this.#quotaStatus(peer.name, quota),
      };
    });
  }

  services(policy: Policy): ServiceAccountStatus[] {
    return policy.services.map(({ id }) => ({
      service: id,
      ...accountStatus(this.#book.services.get(id) ?? NEW),
    }));
  }

  #quotaStatus(peer: string, quota: Quota): PeerAccountStatus['quota'] {
    const { usedBytes, startMs } = this.#markedAccount(peer, quota);
    return {
      bytes: String(quota.bytes),
      usedBytes: String(usedBytes),
      period: quota.period,
      endsSeconds: periodEnd(quota.period, startMs) / 1000,
      over: quota.over,
      isOver: usedBytes >= BigInt(quota.bytes),
    };
  }

  /** What a peer has used in the present period, which begins now for one that is new to it. */
  #markedAccount(name: string, { period }: Quota): { readonly usedBytes: bigint; readonly startMs: number } {
    const account = this.#book.peers.get(name) ?? NEW;
    const total = bytesOf(account);
    const former = account.quota?.period === period ? account.quota.marks : [];
    const marks = markPeriod(former, period, this.#wallClock(), total);
    const [{ startMs, bytes }] = marks;
    if (former[0]?.startMs !== startMs) {
      this.#book.peers.set(name, { ...account, quota: { period, marks } });
      this.#isChanged = true;
    }
    return { usedBytes: total - bytes, startMs };
  }

  /** Writes the file, if something has changed, and if its time has come or it `must`. */
  async write(policy: Policy | null, must = false): Promise<void> {
    if (!this.#isChanged || (!must && laneClockMs() - this.#writtenMs < WRITE_MS)) return;
    this.#writtenMs = laneClockMs();
    this.#isChanged = false;
    forget(this.#book.peers, new Set(policy?.peers.map(({ name }) => name)));
    forget(this.#book.services, new Set(policy?.services.map(({ id }) => id)));
    if (!(await this.#file.write(this.#book))) this.#isChanged = true;
  }
}

/** Keeps all that are named, and of the others those that came last. */
function forget(accounts: Map<string, Account>, named: ReadonlySet<string>): void {
  const former = [...accounts.keys()].filter((name) => !named.has(name));
  for (const name of former.slice(0, Math.max(0, former.length - MOST_FORMER))) accounts.delete(name);
}

function quotaOf(profiles: ReadonlyMap<string, Profile>, { profile }: PolicyPeer): Quota | null {
  return profile === null ? null : (profiles.get(profile)?.quota ?? null);
}

function bytesOf({ up, down }: Pick<Account, 'up' | 'down'>): bigint {
  return up.bytes + down.bytes;
}

function sum(a: LaneTally, b: LaneTally): LaneTally {
  return { bytes: a.bytes + b.bytes, packets: a.packets + b.packets, flows: a.flows + b.flows };
}

function less(a: LaneTally, b: LaneTally): LaneTally {
  return { bytes: a.bytes - b.bytes, packets: a.packets - b.packets, flows: a.flows - b.flows };
}

function accountStatus({ up, down }: Account): AccountStatus {
  return { up: tallyStatus(up), down: tallyStatus(down) };
}

function tallyStatus({ bytes, packets, flows }: LaneTally): TallyStatus {
  return { bytes: String(bytes), packets: String(packets), flows: String(flows) };
}
