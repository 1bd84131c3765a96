import { fail, flushFor, twiceIfAway, type Flushing, type Member } from "./flush.ts";

/** What items lock in a database, so that a lock held elsewhere delays only the items that need it. */
export interface Locks<Item> {
  /** The keys that an item locks: `stock MUG-BLUE`. */
  readonly keysOf: (item: Item) => readonly string[];
  /** Which of these keys are held now. Must not wait for any. */
  readonly held: (keys: readonly string[]) => Promise<ReadonlySet<string>>;
  /**
   * Waits in turn for one key, holding nothing else, and releases it at once. Must wait for a while, such as a
   * second, before it gives up.
   *
   * @throws a `contended` error when it gives up
   */
  readonly wait: (key: string) => Promise<void>;
}

/** Milliseconds for which a held key is watched after it was last wanted. Longer than jobs are delayed. */
const REMEMBER_MS = 15_000;

/** A member of a contended flush whose lock is not known; it is retried alone. */
interface Contender<Item, Result> {
  readonly member: Member<Item, Result>;
  readonly since: number;
  /** The latest error. */
  readonly error: unknown;
}

/** A key held by another transaction. Times are from `performance.now()`. */
interface HeldKey {
  /** When it was first seen to be held. */
  readonly since: number;
  /** When it was last wanted. */
  wantedAt: number;
  /** The latest error. */
  error: unknown;
}

export interface ContentionOptions<Item, Result> {
  readonly flushing: Flushing<Item, Result>;
  /** Without it, members of a contended flush are retried one by one. */
  readonly locks: Locks<Item> | undefined;
  /** Milliseconds that a member waits for a lock held elsewhere. */
  readonly patienceMs: number;
  /** Called with members that need no held lock any more, in order of arrival. */
  readonly rejoin: (members: readonly Member<Item, Result>[]) => void;
  /** Called with an error that concerns everyone who waits, here and elsewhere. */
  readonly giveUp: (error: unknown) => void;
}

/**
 * The members of a group commit that wait for locks held elsewhere. They step aside, so that the others are flushed
 * meanwhile, and rejoin when the lock is free. However many wait, only one connection waits for the locks.
 */
export class Contention<Item, Result> {
  readonly #options: ContentionOptions<Item, Result>;
  /** They need a key that is held. */
  #aside: Member<Item, Result>[] = [];
  /** To be retried one by one. */
  #contenders: Contender<Item, Result>[] = [];
  /** The contender that is being retried. */
  #tried: Contender<Item, Result> | undefined;
  readonly #held = new Map<string, HeldKey>();
  /** The current round of work on them. */
  #attending: Promise<void> | undefined;

  constructor(options: ContentionOptions<Item, Result>) {
    this.#options = options;
  }

  /** How many wait. */
  get size(): number {
    return this.#aside.length + this.#contenders.length;
  }

  /** The current round of work, if anybody waits for it. */
  get pending(): Promise<void> | undefined {
    return this.size > 0 || this.#tried ? this.#attending : undefined;
  }

  /**
   * Sets aside those members of a contended flush that need a held key. If none does, the lock is not on a key, but on a
   * gap between rows for example, or it is free again: then all are set aside, to be retried one by one.
   *
   * @returns the others. @throws what `locks` throws.
   */
  async part(
    members: readonly Member<Item, Result>[],
    error: unknown,
  ): Promise<readonly Member<Item, Result>[]> {
    await this.#findHeld(members, error);
    const others = this.unblocked(members);
    if (others.length < members.length) return others;
    const since = performance.now();
    this.#contenders.push(...others.map((member) => ({ member, since, error })));
    this.#attend();
    return [];
  }

  /** The members that need no held key. The others step aside, or fail if the key has been held too long. */
  unblocked(members: readonly Member<Item, Result>[]): readonly Member<Item, Result>[] {
    if (this.#held.size === 0) return members;
    const others: Member<Item, Result>[] = [];
    for (const member of members) {
      const keys = this.#heldKeysOf(member);
      for (const key of keys) key.wantedAt = performance.now();
      (keys.length > 0 ? this.#aside : others).push(member);
    }
    this.#refuseLate();
    if (others.length < members.length) this.#attend();
    return others;
  }

  /** Removes and returns all who wait. */
  takeAll(): Member<Item, Result>[] {
    return [...this.#aside.splice(0), ...this.#contenders.splice(0).map(({ member }) => member)];
  }

  async #findHeld(members: readonly Member<Item, Result>[], error: unknown): Promise<void> {
    const { locks } = this.#options;
    if (locks === undefined) return;
    const keys = [...new Set(members.flatMap(({ item }) => locks.keysOf(item)))];
    const held = await this.#twice(() => locks.held(keys));
    const now = performance.now();
    for (const key of held) {
      if (!this.#held.has(key)) this.#held.set(key, { since: now, wantedAt: now, error });
    }
  }

  #heldKeysOf({ item }: Member<Item, Result>): HeldKey[] {
    return this.#options.locks?.keysOf(item).flatMap((key) => this.#held.get(key) ?? []) ?? [];
  }

  /** Fails set-aside members whose key has been held for longer than `patienceMs`. */
  #refuseLate(): void {
    const before = performance.now() - this.#options.patienceMs;
    this.#aside = this.#aside.filter((member) => {
      const late = this.#heldKeysOf(member).find(({ since }) => since < before);
      if (late) fail(member, late.error);
      return late === undefined;
    });
  }

  /** Returns set-aside members that no longer need a held key to the front of the queue. */
  #rejoin(): void {
    const stay: Member<Item, Result>[] = [];
    const free: Member<Item, Result>[] = [];
    for (const member of this.#aside) (this.#heldKeysOf(member).length > 0 ? stay : free).push(member);
    if (free.length === 0) return;
    this.#aside = stay;
    this.#options.rejoin(free);
  }

  /** Makes sure that the set-aside members are worked on. */
  #attend(): void {
    this.#attending ??= this.#attendOnce();
  }

  /** Works on them one after another, so that they use only one connection. */
  async #attendOnce(): Promise<void> {
    try {
      // Most need only one try: a batch may lock more rows than its items do individually.
      for (let left = this.#contenders.length; left > 0; left--) {
        await this.#tryContender();
        this.#refuseLateContenders();
      }
      await this.#watchHeld();
      this.#refuseLateContenders();
    } catch (error) {
      this.#held.clear();
      this.#options.giveUp(error);
    }
    const hasMore = this.#contenders.length + this.#aside.length + this.#held.size > 0;
    this.#attending = hasMore ? this.#attendOnce() : undefined;
  }

  async #tryContender(): Promise<void> {
    const contender = this.#contenders.shift();
    if (contender === undefined) return;
    this.#tried = contender;
    try {
      await flushFor(this.#options.flushing, [contender.member]);
    } catch (error) {
      await this.#settleContender(contender, error);
    } finally {
      this.#tried = undefined;
    }
  }

  /** @throws an error that concerns everyone who waits */
  async #settleContender(contender: Contender<Item, Result>, error: unknown): Promise<void> {
    const { member } = contender;
    const kind = this.#options.flushing.kindOf(error);
    if (kind !== "contended") {
      fail(member, error);
      if (kind === "away") throw error;
      return;
    }
    try {
      await this.#findHeld([member], error);
    } catch (failure) {
      fail(member, failure);
      throw failure;
    }
    if (this.unblocked([member]).length > 0) this.#contenders.push({ ...contender, error });
  }

  /** Fails contenders that have waited for `patienceMs`, whether or not they were retried. */
  #refuseLateContenders(): void {
    const before = performance.now() - this.#options.patienceMs;
    const late = this.#contenders.filter(({ since }) => since <= before);
    if (late.length === 0) return;
    this.#contenders = this.#contenders.filter(({ since }) => since > before);
    for (const { member, error } of late) fail(member, error);
  }

  /** Finds keys that are free again, and waits for one of the others, in turn. */
  async #watchHeld(): Promise<void> {
    const { locks } = this.#options;
    const wanted = performance.now() - REMEMBER_MS;
    for (const [key, { wantedAt }] of this.#held) if (wantedAt < wanted) this.#held.delete(key);
    if (locks === undefined || this.#held.size === 0) return;
    const keys = [...this.#held.keys()];
    const stillHeld = await this.#twice(() => locks.held(keys));
    for (const key of keys) if (!stillHeld.has(key)) this.#held.delete(key);
    this.#rejoin();
    const [next] = this.#held;
    if (next === undefined) return;
    const [key, held] = next;
    try {
      // A popular key may look held at every check; waiting in turn gets it unless it really is.
      await this.#twice(() => locks.wait(key));
      this.#held.delete(key);
    } catch (error) {
      if (this.#options.flushing.kindOf(error) !== "contended") throw error;
      // Move it to the end.
      this.#held.delete(key);
      this.#held.set(key, Object.assign(held, { error }));
    }
    this.#rejoin();
    this.#refuseLate();
  }

  #twice<T>(work: () => Promise<T>): Promise<T> {
    return twiceIfAway(work, this.#options.flushing.kindOf);
  }
}
