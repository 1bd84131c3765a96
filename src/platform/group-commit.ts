/** Too many callers wait already: the work behind is slower than what comes in. */
export class OverloadedError extends Error {
  override name = "OverloadedError";
}

export interface GroupCommitOptions<Item, Result> {
  /** What it does, in a word or two, for whoever observes it. */
  readonly name?: string;
  /**
   * Does the work of many callers in one go, all or nothing, and gives one result for each item, in their order. Called
   * again for some of the items when it throws: what it did must have been rolled back, or be harmless to repeat.
   */
  readonly flush: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** Items of one flush at most. */
  readonly maxBatch?: number;
  /** Items that may wait before further ones are refused. */
  readonly maxWaiting?: number;
  /**
   * Whether one item may be to blame for an error, so that trying each alone makes sense. Default: always. When it
   * cannot, everyone who waits gets the error too: a server that is gone will not be back for the next batch.
   */
  readonly mayBeOneItem?: (error: unknown) => boolean;
  /** Told of every flush, whether it succeeded or not. */
  readonly observe?: ((batch: Batch) => void) | undefined;
}

/** One flush. */
export interface Batch {
  /** Callers that shared it. */
  readonly size: number;
  readonly seconds: number;
}

/** What does the work of callers, alone or together. */
export interface Committer<Item, Result> {
  /** Gives the item's result once it is done for good. @throws {OverloadedError} or what the flush throws. */
  submit(item: Item): Promise<Result>;
  /** Resolves when nothing is waiting or under way. */
  idle(): Promise<void>;
}

/** Makes a committer: who has one passed in leaves open whether callers share a flush. */
export type Commit = <Item, Result>(options: GroupCommitOptions<Item, Result>) => Committer<Item, Result>;

/** Callers of the same moment share a flush. */
export const grouped: Commit = (options) => new GroupCommit(options);

/** Every caller has a flush of its own. */
export const eachAlone: Commit = (options) => new LoneCommit(options);

/** By what `GROUP_COMMIT` says. */
export const COMMITS = { on: grouped, off: eachAlone } as const;

const MAX_WAITING = 10_000;

interface Member<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Group commit: callers that want the same thing at the same moment share one transaction, as databases do with their
 * log (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984).
 *
 * - What arrives while a flush is under way is collected and flushed next, so batches grow with the load and a lone
 *   caller waits for nobody: there is no timer.
 * - First in, first out: one flush at a time, and items in the order of their arrival.
 * - Each caller gets its own result or its own error. When a flush of several fails, its members are tried one by one,
 *   so that a bad one fails alone.
 * - When the error is nobody's (the server is gone), all who wait get it at once: nobody waits in vain.
 * - Bounded: at most `maxBatch` items a flush, and at most `maxWaiting` waiting. Who comes when these wait is refused at
 *   once, so a slow database costs neither memory nor the patience of later callers.
 *
 * An error does not mean that nothing was done: when the connection is lost at COMMIT, nobody knows. What is submitted
 * must be harmless to submit again.
 */
export class GroupCommit<Item, Result> implements Committer<Item, Result> {
  readonly #flush: GroupCommitOptions<Item, Result>["flush"];
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  readonly #mayBeOneItem: (error: unknown) => boolean;
  readonly #observe: GroupCommitOptions<Item, Result>["observe"];
  readonly #waiting: Member<Item, Result>[] = [];
  /** Of a flush that failed: to be tried one by one, before those who wait. */
  readonly #apart: Member<Item, Result>[] = [];
  #running: Promise<void> | undefined;

  constructor({
    flush,
    maxBatch = 100,
    maxWaiting = MAX_WAITING,
    mayBeOneItem = () => true,
    observe,
  }: GroupCommitOptions<Item, Result>) {
    this.#flush = flush;
    this.#maxBatch = maxBatch;
    this.#maxWaiting = maxWaiting;
    this.#mayBeOneItem = mayBeOneItem;
    this.#observe = observe;
  }

  submit(item: Item): Promise<Result> {
    if (this.#waiting.length >= this.#maxWaiting) {
      return Promise.reject(new OverloadedError(`${this.#waiting.length} are waiting already`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #run(): Promise<void> {
    // Lets in what else arrives in this turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) await this.#settle(this.#waiting.splice(0, this.#maxBatch));
    this.#running = undefined;
  }

  async #settle(members: readonly Member<Item, Result>[]): Promise<void> {
    try {
      await flushFor(this.#flush, members, this.#observe);
    } catch (error) {
      const isNobodys = !this.#mayBeOneItem(error);
      if (members.length > 1 && !isNobodys) return this.#settleApart(members);
      for (const member of members) member.reject(error);
      if (!isNobodys) return;
      for (const member of [...this.#apart.splice(0), ...this.#waiting.splice(0)]) member.reject(error);
    }
  }

  async #settleApart(members: readonly Member<Item, Result>[]): Promise<void> {
    this.#apart.push(...members);
    for (let next = this.#apart.shift(); next; next = this.#apart.shift()) await this.#settle([next]);
  }
}

/**
 * The same without sharing: every item is flushed by itself, at once, and beside the others. What bounds how many at the
 * same moment is what the flush needs, such as connections; those who wait for that are at most `maxWaiting`, too.
 */
export class LoneCommit<Item, Result> implements Committer<Item, Result> {
  readonly #flush: GroupCommitOptions<Item, Result>["flush"];
  readonly #maxWaiting: number;
  readonly #observe: GroupCommitOptions<Item, Result>["observe"];
  readonly #underWay = new Set<Promise<Result>>();

  constructor({ flush, maxWaiting = MAX_WAITING, observe }: GroupCommitOptions<Item, Result>) {
    this.#flush = flush;
    this.#maxWaiting = maxWaiting;
    this.#observe = observe;
  }

  submit(item: Item): Promise<Result> {
    if (this.#underWay.size >= this.#maxWaiting) {
      return Promise.reject(new OverloadedError(`${this.#underWay.size} are under way already`));
    }
    const result = new Promise<Result>((resolve, reject) => {
      flushFor(this.#flush, [{ item, resolve, reject }], this.#observe).catch(reject);
    });
    const done = result.finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
    return done;
  }

  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }
}

/** Gives each member its result. @throws what the flush throws; then nobody has one. */
async function flushFor<Item, Result>(
  flush: GroupCommitOptions<Item, Result>["flush"],
  members: readonly Member<Item, Result>[],
  observe: GroupCommitOptions<Item, Result>["observe"],
): Promise<void> {
  const startedAt = performance.now();
  const results = await flush(members.map((member) => member.item)).finally(() =>
    observe?.({ size: members.length, seconds: (performance.now() - startedAt) / 1_000 }),
  );
  if (results.length !== members.length) {
    throw new Error(`a flush of ${members.length} items gave ${results.length} results`);
  }
  results.forEach((result, index) => members[index]?.resolve(result));
}

/** A flush for work that gives nothing back. */
export function withoutResults<Item>(
  work: (items: readonly Item[]) => Promise<void>,
): (items: readonly Item[]) => Promise<readonly void[]> {
  return async (items) => {
    await work(items);
    return items.map(() => undefined);
  };
}
