/** Too many callers are waiting: work arrives faster than it is done. */
export class OverloadedError extends Error {
  override name = "OverloadedError";
}

/**
 * What a flush's error says about its items:
 *
 * - `item`: one of them is at fault. Each is retried alone, so that the others don't suffer.
 * - `contended`: another transaction holds a lock that one of them needs. Those that need it step aside.
 * - `away`: the server is unavailable. The flush is retried once; then everyone who waits gets the error, since
 *   the server won't be back for the next batch.
 */
export type FailureKind = "item" | "contended" | "away";

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

export interface GroupCommitOptions<Item, Result> {
  /** A short name for metrics and traces. */
  readonly name?: string;
  /**
   * Does the work of many callers at once, all or nothing, and returns one result per item, in order. It is
   * called again for some or all items after it throws, so what it did must have been rolled back or be
   * idempotent.
   */
  readonly flush: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** Maximum items per flush. */
  readonly maxBatch?: number;
  /** Maximum waiting items; further ones are refused. */
  readonly maxWaiting?: number;
  /** Classifies errors of `flush` and `locks`. Default: `item`. */
  readonly kindOf?: (error: unknown) => FailureKind;
  /**
   * Whether a flush that failed with this error may have taken effect. Its callers get this error if the
   * retries fail too. Default: never.
   */
  readonly isUnknown?: (error: unknown) => boolean;
  /**
   * Converts an `isUnknown` error for callers who only waited behind such a flush and for whom nothing was
   * done. Default: unchanged.
   */
  readonly asNeverSent?: (error: unknown) => unknown;
  /**
   * What the items lock. Without it, the items of a contended flush are retried one by one, aside from the
   * queue.
   */
  readonly locks?: Locks<Item> | undefined;
  /** Milliseconds that an item waits for a lock held elsewhere, after the first flush that met it. */
  readonly patienceMs?: number;
  /** Called after every flush, successful or not. */
  readonly observe?: ((batch: Batch) => void) | undefined;
}

/** A flush. */
export interface Batch {
  /** Callers that shared it. */
  readonly size: number;
  readonly seconds: number;
}

/** Does the work of callers, individually or in batches. */
export interface Committer<Item, Result> {
  /** Resolves with the item's result once it is durable. @throws {OverloadedError}, or what the flush throws */
  submit(item: Item): Promise<Result>;
  /** Resolves when nothing is waiting or in flight. */
  idle(): Promise<void>;
}

/** Makes a committer. Code that takes one as a parameter leaves open whether callers share a flush. */
export type Commit = <Item, Result>(options: GroupCommitOptions<Item, Result>) => Committer<Item, Result>;

/** Concurrent callers share a flush. */
export const grouped: Commit = (options) => new GroupCommit(options);

/** Flushes every item by itself. */
export const unbatched: Commit = (options) => new Unbatched(options);

/** By the value of `GROUP_COMMIT`. */
export const COMMITS = { on: grouped, off: unbatched } as const;

const MAX_WAITING = 10_000;
const PATIENCE_MS = 2_000;
/** Milliseconds for which a held key is watched after it was last wanted. Longer than jobs are delayed. */
const REMEMBER_MS = 15_000;
/**
 * An `away` error within this many milliseconds is retried: a broken connection fails at once. After that, the
 * server hangs and callers have waited long enough.
 */
const PROMPT_MS = 1_000;

interface Member<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  /** The error of an earlier try that may have taken effect. */
  unknown?: unknown;
}

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

/**
 * Group commit: concurrent callers share one transaction, as databases do for their log (DeWitt et al.,
 * "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984).
 *
 * - Items that arrive during a flush are collected and flushed next, so batches grow with the load. There is no
 *   timer: a lone caller does not wait.
 * - First in, first out: one flush at a time, items in order of arrival.
 * - Each caller gets its own result or error. If a flush of several items fails, they are retried one by one,
 *   so that a bad one fails alone.
 * - A lock held elsewhere blocks only the items that need it. Once a flush has given up on a lock, the items
 *   that need it step aside, as do later ones, and the queue continues. When the lock is free, they return to
 *   the front of the queue in order of arrival, so items with the same keys never overtake each other. Items
 *   that have waited for `patienceMs` fail, and while a key has been held for longer than that, new items for
 *   it fail at once. However many items wait, only one connection waits for the locks.
 * - Items whose lock is not known are retried one by one, aside from the queue, and also fail after
 *   `patienceMs`, whether or not it was their turn.
 * - A flush that fails because the server is away is retried once, since it may only have been the connection.
 *   If that fails too, everyone who waits gets the error at once.
 * - Bounded: at most `maxBatch` items per flush and `maxWaiting` waiting. Beyond that, items are refused at
 *   once, so a slow database costs neither memory nor the time of later callers.
 *
 * An error does not mean that nothing was done: if the connection is lost at COMMIT, the outcome is unknown.
 * Submitting an item again must be harmless.
 */
export class GroupCommit<Item, Result> implements Committer<Item, Result> {
  readonly #options: Flushing<Item, Result>;
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  readonly #patienceMs: number;
  readonly #locks: Locks<Item> | undefined;
  readonly #waiting: Member<Item, Result>[] = [];
  /** Members of a failed flush, to be retried one by one before the waiting ones. */
  readonly #apart: Member<Item, Result>[] = [];
  /** Stepped aside: they need a key that is held. */
  #aside: Member<Item, Result>[] = [];
  /** Stepped aside: to be retried one by one. */
  #contenders: Contender<Item, Result>[] = [];
  /** The contender that is being retried. */
  #tried: Contender<Item, Result> | undefined;
  readonly #held = new Map<string, HeldKey>();
  #running: Promise<void> | undefined;
  /** The current round of work on those that stepped aside. */
  #attending: Promise<void> | undefined;

  constructor(options: GroupCommitOptions<Item, Result>) {
    this.#options = flushingOf(options);
    this.#maxBatch = options.maxBatch ?? 100;
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#locks = options.locks;
  }

  submit(item: Item): Promise<Result> {
    const waiting = this.#waiting.length + this.#aside.length + this.#contenders.length;
    if (waiting >= this.#maxWaiting) {
      return Promise.reject(new OverloadedError(`${waiting} items are already waiting`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  async idle(): Promise<void> {
    for (;;) {
      if (this.#running) await this.#running;
      else if (this.#aside.length + this.#contenders.length > 0 || this.#tried) await this.#attending;
      else return;
    }
  }

  async #run(): Promise<void> {
    // Include whatever else arrives in this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const members = this.#withoutBlocked(this.#waiting.splice(0, this.#maxBatch));
      if (members.length > 0) await this.#settle(members);
    }
    this.#running = undefined;
  }

  async #settle(members: readonly Member<Item, Result>[]): Promise<void> {
    try {
      await flushFor(this.#options, members);
    } catch (error) {
      switch (this.#options.kindOf(error)) {
        case "item":
          if (members.length > 1) return this.#settleApart(members);
          return rejectEach(members, error);
        case "contended":
          return this.#settleContended(members, error);
        case "away":
          return this.#rejectAll(members, error);
      }
    }
  }

  async #settleApart(members: readonly Member<Item, Result>[]): Promise<void> {
    this.#apart.push(...members);
    for (let next = this.#apart.shift(); next; next = this.#apart.shift()) await this.#settle([next]);
  }

  /** Sets aside the members that need a held key, and flushes the others. */
  async #settleContended(members: readonly Member<Item, Result>[], error: unknown): Promise<void> {
    try {
      await this.#findHeld(members, error);
    } catch (failure) {
      if (this.#options.kindOf(failure) === "away") return this.#rejectAll(members, failure);
      return rejectEach(members, failure);
    }
    const others = this.#withoutBlocked(members);
    if (others.length < members.length) return others.length > 0 ? this.#settle(others) : undefined;
    // The lock is not on a key, but on a gap between rows for example, or it is free again.
    const since = performance.now();
    this.#contenders.push(...others.map((member) => ({ member, since, error })));
    this.#attend();
  }

  async #findHeld(members: readonly Member<Item, Result>[], error: unknown): Promise<void> {
    const locks = this.#locks;
    if (locks === undefined) return;
    const keys = [...new Set(members.flatMap(({ item }) => locks.keysOf(item)))];
    const held = await this.#twice(() => locks.held(keys));
    const now = performance.now();
    for (const key of held) {
      if (!this.#held.has(key)) this.#held.set(key, { since: now, wantedAt: now, error });
    }
  }

  /** The members that need no held key. The others step aside, or fail if the key has been held too long. */
  #withoutBlocked(members: readonly Member<Item, Result>[]): readonly Member<Item, Result>[] {
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

  #heldKeysOf({ item }: Member<Item, Result>): HeldKey[] {
    return this.#locks?.keysOf(item).flatMap((key) => this.#held.get(key) ?? []) ?? [];
  }

  /** Fails set-aside members whose key has been held for longer than `patienceMs`. */
  #refuseLate(): void {
    const before = performance.now() - this.#patienceMs;
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
    this.#waiting.unshift(...free);
    this.#running ??= this.#run();
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
      this.#rejectAll([], error);
    }
    const hasMore = this.#contenders.length + this.#aside.length + this.#held.size > 0;
    this.#attending = hasMore ? this.#attendOnce() : undefined;
  }

  async #tryContender(): Promise<void> {
    const contender = this.#contenders.shift();
    if (contender === undefined) return;
    this.#tried = contender;
    try {
      await flushFor(this.#options, [contender.member]);
    } catch (error) {
      await this.#settleContender(contender, error);
    } finally {
      this.#tried = undefined;
    }
  }

  /** @throws an error that concerns everyone who waits */
  async #settleContender(contender: Contender<Item, Result>, error: unknown): Promise<void> {
    const { member } = contender;
    const kind = this.#options.kindOf(error);
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
    if (this.#withoutBlocked([member]).length > 0) this.#contenders.push({ ...contender, error });
  }

  /** Fails contenders that have waited for `patienceMs`, whether or not they were retried. */
  #refuseLateContenders(): void {
    const before = performance.now() - this.#patienceMs;
    const late = this.#contenders.filter(({ since }) => since <= before);
    if (late.length === 0) return;
    this.#contenders = this.#contenders.filter(({ since }) => since > before);
    for (const { member, error } of late) fail(member, error);
  }

  /** Finds keys that are free again, and waits for one of the others, in turn. */
  async #watchHeld(): Promise<void> {
    const locks = this.#locks;
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
      if (this.#options.kindOf(error) !== "contended") throw error;
      // Move it to the end.
      this.#held.delete(key);
      this.#held.set(key, Object.assign(held, { error }));
    }
    this.#rejoin();
    this.#refuseLate();
  }

  #twice<T>(work: () => Promise<T>): Promise<T> {
    return twiceIfAway(work, this.#options.kindOf);
  }

  /** Fails these members and everyone who waits; the latter were not part of the failed flush. */
  #rejectAll(members: readonly Member<Item, Result>[], error: unknown): void {
    rejectEach(members, error);
    const { isUnknown, asNeverSent } = this.#options;
    const known = isUnknown(error) ? asNeverSent(error) : error;
    rejectEach(this.#apart.splice(0), known);
    rejectEach(this.#waiting.splice(0), known);
    rejectEach(this.#aside.splice(0), known);
    rejectEach(
      this.#contenders.splice(0).map(({ member }) => member),
      known,
    );
  }
}

function rejectEach<Item, Result>(members: readonly Member<Item, Result>[], error: unknown): void {
  for (const member of members) fail(member, error);
}

function fail<Item, Result>(member: Member<Item, Result>, error: unknown): void {
  member.reject(member.unknown ?? error);
}

/**
 * The same interface without batching: every item is flushed by itself, concurrently. Concurrency is bounded by
 * what the flush needs, such as connections, and by `maxWaiting`.
 */
export class Unbatched<Item, Result> implements Committer<Item, Result> {
  readonly #options: Flushing<Item, Result>;
  readonly #maxWaiting: number;
  readonly #patienceMs: number;
  readonly #inFlight = new Set<Promise<Result>>();

  constructor(options: GroupCommitOptions<Item, Result>) {
    this.#options = flushingOf(options);
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
  }

  submit(item: Item): Promise<Result> {
    if (this.#inFlight.size >= this.#maxWaiting) {
      return Promise.reject(new OverloadedError(`${this.#inFlight.size} items are already in flight`));
    }
    const result = new Promise<Result>((resolve, reject) => {
      const member: Member<Item, Result> = { item, resolve, reject };
      this.#settle(member).catch((error: unknown) => fail(member, error));
    });
    const done = result.finally(() => this.#inFlight.delete(done));
    this.#inFlight.add(done);
    return done;
  }

  async idle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.allSettled(this.#inFlight);
  }

  async #settle(member: Member<Item, Result>): Promise<void> {
    const startedAt = performance.now();
    for (;;) {
      try {
        return await flushFor(this.#options, [member]);
      } catch (error) {
        const isPatient = performance.now() - startedAt < this.#patienceMs;
        if (!isPatient || this.#options.kindOf(error) !== "contended") throw error;
      }
    }
  }
}

/** The options that a flush needs, with defaults. */
type Flushing<Item, Result> = Required<
  Pick<GroupCommitOptions<Item, Result>, "flush" | "kindOf" | "isUnknown" | "asNeverSent" | "observe">
>;

function flushingOf<Item, Result>({
  flush,
  kindOf = () => "item",
  isUnknown = () => false,
  asNeverSent = (error) => error,
  observe = () => undefined,
}: GroupCommitOptions<Item, Result>): Flushing<Item, Result> {
  return { flush, kindOf, isUnknown, asNeverSent, observe };
}

/** Flushes the members and resolves each with its result. @throws what the flush throws */
async function flushFor<Item, Result>(
  { flush, kindOf, isUnknown, observe }: Flushing<Item, Result>,
  members: readonly Member<Item, Result>[],
): Promise<void> {
  const items = members.map((member) => member.item);
  const results = await twiceIfAway(async () => {
    const startedAt = performance.now();
    try {
      return await flush(items);
    } catch (error) {
      if (isUnknown(error)) for (const member of members) member.unknown = error;
      throw error;
    } finally {
      observe?.({ size: items.length, seconds: (performance.now() - startedAt) / 1_000 });
    }
  }, kindOf);
  if (results.length !== members.length) {
    throw new Error(`a flush of ${members.length} items gave ${results.length} results`);
  }
  results.forEach((result, index) => members[index]?.resolve(result));
}

/** Retries once after a prompt `away` error, which may only have been the connection. */
async function twiceIfAway<T>(work: () => Promise<T>, kindOf: (error: unknown) => FailureKind): Promise<T> {
  const startedAt = performance.now();
  try {
    return await work();
  } catch (error) {
    if (kindOf(error) !== "away" || performance.now() - startedAt > PROMPT_MS) throw error;
  }
  return work();
}

/** Adapts work without results to a flush. */
export function withoutResults<Item>(
  work: (items: readonly Item[]) => Promise<void>,
): (items: readonly Item[]) => Promise<readonly void[]> {
  return async (items) => {
    await work(items);
    return items.map(() => undefined);
  };
}
