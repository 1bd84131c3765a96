/** Too many callers wait already: the work behind is slower than what comes in. */
export class OverloadedError extends Error {
  override name = "OverloadedError";
}

export interface GroupCommitOptions<Item, Result> {
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
}

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
 * - Bounded: at most `maxBatch` items a flush, and at most `maxWaiting` waiting.
 */
export class GroupCommit<Item, Result> {
  readonly #flush: (items: readonly Item[]) => Promise<readonly Result[]>;
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  readonly #mayBeOneItem: (error: unknown) => boolean;
  readonly #waiting: Member<Item, Result>[] = [];
  #running: Promise<void> | undefined;

  constructor({
    flush,
    maxBatch = 100,
    maxWaiting = 10_000,
    mayBeOneItem = () => true,
  }: GroupCommitOptions<Item, Result>) {
    this.#flush = flush;
    this.#maxBatch = maxBatch;
    this.#maxWaiting = maxWaiting;
    this.#mayBeOneItem = mayBeOneItem;
  }

  /** Gives the item's result once the flush that carries it is done. @throws {OverloadedError} or the flush's error. */
  submit(item: Item): Promise<Result> {
    if (this.#waiting.length >= this.#maxWaiting) {
      return Promise.reject(new OverloadedError(`${this.#waiting.length} are waiting already`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing is waiting or under way. */
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
      const results = await this.#flush(members.map((member) => member.item));
      if (results.length !== members.length) {
        throw new Error(`a flush of ${members.length} items gave ${results.length} results`);
      }
      results.forEach((result, index) => members[index]?.resolve(result));
    } catch (error) {
      if (members.length > 1 && this.#mayBeOneItem(error)) {
        for (const member of members) await this.#settle([member]);
      } else {
        for (const member of members) member.reject(error);
        if (!this.#mayBeOneItem(error)) for (const member of this.#waiting.splice(0)) member.reject(error);
      }
    }
  }
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
