import { Contention, type Locks } from "./contention.ts";
import {
  fail,
  flushFor,
  flushingOf,
  rejectEach,
  type Flushing,
  type FlushOptions,
  type Member,
} from "./flush.ts";

/** Too many callers are waiting: work arrives faster than it is done. */
export class OverloadedError extends Error {
  override name = "OverloadedError";
}

export interface GroupCommitOptions<Item, Result> extends FlushOptions<Item, Result> {
  /** Maximum items per flush. */
  readonly maxBatch?: number;
  /**
   * An item's share of a flush, such as the rows that it writes; default 1. A flush has at most {@link MAX_WEIGHT}, or one
   * item. With {@link grouped}, heavy items have flushes of their own, so that the others don't wait for them.
   */
  readonly weightOf?: (item: Item) => number;
  /** Maximum waiting items; further ones are refused. */
  readonly maxWaiting?: number;
  /**
   * What the items lock. Without it, the items of a contended flush are retried one by one, aside from the
   * queue.
   */
  readonly locks?: Locks<Item> | undefined;
  /** Milliseconds that an item waits for a lock held elsewhere, after the first flush that met it. */
  readonly patienceMs?: number;
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

/** Concurrent callers share a flush, with others of their weight. */
export const grouped: Commit = (options) =>
  options.weightOf === undefined ? new GroupCommit(options) : new ByWeight(options, options.weightOf);

/** Flushes every item by itself. */
export const unbatched: Commit = (options) => new Unbatched(options);

/** By the value of `GROUP_COMMIT`. */
export const COMMITS = { on: grouped, off: unbatched } as const;

const MAX_WAITING = 10_000;
/** A tenth of a second for MySQL, even on a slow machine well below its time limit, in rows. */
const MAX_WEIGHT = 2_000;
/** An item that weighs more is heavy. */
const LIGHT = 100;
const PATIENCE_MS = 2_000;

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
 * - Bounded: at most `maxBatch` items and {@link MAX_WEIGHT} per flush, and `maxWaiting` waiting. Beyond that, items are refused at
 *   once, so a slow database costs neither memory nor the time of later callers.
 *
 * An error does not mean that nothing was done: if the connection is lost at COMMIT, the outcome is unknown.
 * Submitting an item again must be harmless.
 */
export class GroupCommit<Item, Result> implements Committer<Item, Result> {
  readonly #options: Flushing<Item, Result>;
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  readonly #weightOf: (item: Item) => number;
  readonly #waiting: Member<Item, Result>[] = [];
  /** Members of a failed flush, to be retried one by one before the waiting ones. */
  readonly #apart: Member<Item, Result>[] = [];
  readonly #contention: Contention<Item, Result>;
  #running: Promise<void> | undefined;

  constructor(options: GroupCommitOptions<Item, Result>) {
    this.#options = flushingOf(options);
    this.#maxBatch = options.maxBatch ?? 100;
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
    this.#weightOf = options.weightOf ?? (() => 1);
    this.#contention = new Contention({
      flushing: this.#options,
      locks: options.locks,
      patienceMs: options.patienceMs ?? PATIENCE_MS,
      rejoin: (members) => {
        this.#waiting.unshift(...members);
        this.#running ??= this.#run();
      },
      giveUp: (error) => this.#rejectAll([], error),
    });
  }

  submit(item: Item): Promise<Result> {
    const waiting = this.#waiting.length + this.#contention.size;
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
      const pending = this.#running ?? this.#contention.pending;
      if (pending === undefined) return;
      await pending;
    }
  }

  async #run(): Promise<void> {
    // Include whatever else arrives in this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const members = this.#contention.unblocked(this.#next());
      if (members.length > 0) await this.#settle(members);
    }
    this.#running = undefined;
  }

  /** Takes the first ones that wait: as many as fit one flush, but at least one. */
  #next(): Member<Item, Result>[] {
    let weight = 0;
    const end = this.#waiting
      .slice(0, this.#maxBatch)
      .findIndex(({ item }, index) => (weight += this.#weightOf(item)) > MAX_WEIGHT && index > 0);
    return this.#waiting.splice(0, end < 0 ? this.#maxBatch : end);
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

  /** Flushes the members that need no held lock. */
  async #settleContended(members: readonly Member<Item, Result>[], error: unknown): Promise<void> {
    try {
      members = await this.#contention.part(members, error);
    } catch (failure) {
      if (this.#options.kindOf(failure) === "away") return this.#rejectAll(members, failure);
      return rejectEach(members, failure);
    }
    if (members.length > 0) await this.#settle(members);
  }

  /** Fails these members and everyone who waits; the latter were not part of the failed flush. */
  #rejectAll(members: readonly Member<Item, Result>[], error: unknown): void {
    rejectEach(members, error);
    const { isUnknown, asNeverSent } = this.#options;
    const known = isUnknown(error) ? asNeverSent(error) : error;
    rejectEach(this.#apart.splice(0), known);
    rejectEach(this.#waiting.splice(0), known);
    rejectEach(this.#contention.takeAll(), known);
  }
}

/** Light items share flushes, and heavy ones do, side by side. */
class ByWeight<Item, Result> implements Committer<Item, Result> {
  readonly #isHeavy: (item: Item) => boolean;
  readonly #light: GroupCommit<Item, Result>;
  readonly #heavy: GroupCommit<Item, Result>;

  constructor(options: GroupCommitOptions<Item, Result>, weightOf: (item: Item) => number) {
    this.#isHeavy = (item) => weightOf(item) > LIGHT;
    this.#light = new GroupCommit(options);
    this.#heavy = new GroupCommit(options);
  }

  submit(item: Item): Promise<Result> {
    return (this.#isHeavy(item) ? this.#heavy : this.#light).submit(item);
  }

  async idle(): Promise<void> {
    await Promise.all([this.#light.idle(), this.#heavy.idle()]);
  }
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
