/** Too many callers wait already: the work behind is slower than what comes in. */
export class OverloadedError extends Error {
  override name = "OverloadedError";
}

/**
 * What the error of a flush says about its items:
 *
 * - `item`: one of them is at fault. Each is tried alone, so that the others don't suffer.
 * - `contended`: somebody else holds a lock that one of them wants. Whoever wants it waits beside the line.
 * - `away`: none of them is at fault. The flush is tried again, once; then everyone who waits gets the error, since a
 *   server that is gone will not be back for the next batch.
 */
export type FailureKind = "item" | "contended" | "away";

/** What items lock in a database, so that one that is locked by somebody else holds up only those who want it. */
export interface Locks<Item> {
  /** Names what an item locks: `stock MUG-BLUE`. */
  readonly keysOf: (item: Item) => readonly string[];
  /** Those of these keys that somebody holds at this moment. Must wait for none of them. */
  readonly held: (keys: readonly string[]) => Promise<ReadonlySet<string>>;
  /**
   * Waits its turn for one key, holding nothing else, and lets go of it at once. Must take its time, such as a second,
   * before it gives up. @throws an error that is `contended` when it gives up.
   */
  readonly wait: (key: string) => Promise<void>;
}

export interface GroupCommitOptions<Item, Result> {
  /** What it does, in a word or two, for whoever observes it. */
  readonly name?: string;
  /**
   * Does the work of many callers in one go, all or nothing, and gives one result for each item, in their order. Called
   * again for some or all of the items when it throws: what it did must have been rolled back, or be harmless to repeat.
   */
  readonly flush: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** Items of one flush at most. */
  readonly maxBatch?: number;
  /** Items that may wait before further ones are refused. */
  readonly maxWaiting?: number;
  /** What an error of the flush, or of `locks`, says. Default: that it is an item's. */
  readonly kindOf?: (error: unknown) => FailureKind;
  /**
   * Whether what failed with this error may have taken effect all the same. Callers whose item was in such a flush get this
   * error when nothing comes of the further tries. Default: never.
   */
  readonly isUnknown?: (error: unknown) => boolean;
  /**
   * What an error that `isUnknown` is for those who only waited behind such a flush: nothing was done for them. Default: the
   * same.
   */
  readonly asNeverSent?: (error: unknown) => unknown;
  /** What the items lock. Without it, the items of a contended flush are tried one by one, beside the line. */
  readonly locks?: Locks<Item> | undefined;
  /** Milliseconds for which an item waits for a lock that somebody else holds, after the first flush that met it. */
  readonly patienceMs?: number;
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

/** Flushes every item by itself. */
export const unbatched: Commit = (options) => new Unbatched(options);

/** By what `GROUP_COMMIT` says. */
export const COMMITS = { on: grouped, off: unbatched } as const;

const MAX_WAITING = 10_000;
const PATIENCE_MS = 2_000;
/** Milliseconds for which a key that is held is watched though nobody has wanted it. Longer than jobs are put off. */
const REMEMBER_MS = 15_000;
/**
 * Milliseconds within which an error must come for the flush to be tried again: that of a connection which was cut comes
 * at once. A server that took longer hangs, and callers have waited long enough.
 */
const PROMPT_MS = 1_000;

interface Member<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  /** Of an earlier try, when that may have taken effect. */
  unknown?: unknown;
}

/** A member of a contended flush that can't be told what it waits for: it is tried alone. */
interface Contender<Item, Result> {
  readonly member: Member<Item, Result>;
  readonly since: number;
  /** What was said of it last. */
  readonly error: unknown;
}

/** A key that somebody else holds. Times are those of `performance.now()`. */
interface HeldKey {
  /** Since when it is known to be held. */
  readonly since: number;
  /** The last time that somebody wanted it. */
  wantedAt: number;
  /** What was said of it last. */
  error: unknown;
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
 * - A lock that somebody else holds blocks only those who want it. Once a flush has given up on one, the members that want
 *   it step aside, and so do later ones; the line goes on. They come back to its front when the lock is free, in the order
 *   of their arrival, so that items with the same keys are never overtaken by each other. Those that have waited for
 *   `patienceMs` get the error; and whoever wants a key that has been held for longer gets it at once, until the key is
 *   free. However many wait, one connection waits for all of them.
 * - Members that can't be told what they wait for are tried one by one, beside the line, and get the error after
 *   `patienceMs` as well, whether it was their turn or not.
 * - A flush that fails because the server is gone is tried again, once: it may have been only the connection. When that
 *   fails too, all who wait get the error at once: nobody waits in vain.
 * - Bounded: at most `maxBatch` items a flush, and at most `maxWaiting` waiting. Who comes when these wait is refused at
 *   once, so a slow database costs neither memory nor the patience of later callers.
 *
 * An error does not mean that nothing was done: when the connection is lost at COMMIT, nobody knows. What is submitted
 * must be harmless to submit again.
 */
export class GroupCommit<Item, Result> implements Committer<Item, Result> {
  readonly #options: Flushing<Item, Result>;
  readonly #maxBatch: number;
  readonly #maxWaiting: number;
  readonly #patienceMs: number;
  readonly #locks: Locks<Item> | undefined;
  readonly #waiting: Member<Item, Result>[] = [];
  /** Of a flush that failed: to be tried one by one, before those who wait. */
  readonly #apart: Member<Item, Result>[] = [];
  /** Beside the line: they want a key that is held. */
  #aside: Member<Item, Result>[] = [];
  /** Beside the line: to be tried one by one. */
  #contenders: Contender<Item, Result>[] = [];
  /** The one of them whose try is under way. */
  #tried: Contender<Item, Result> | undefined;
  readonly #held = new Map<string, HeldKey>();
  #running: Promise<void> | undefined;
  /** A step of whoever attends to those beside the line. */
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
      return Promise.reject(new OverloadedError(`${waiting} are waiting already`));
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
    // Lets in what else arrives in this turn of the event loop.
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

  /** Lets those step aside who want what somebody else holds, and flushes the others. */
  async #settleContended(members: readonly Member<Item, Result>[], error: unknown): Promise<void> {
    try {
      await this.#findHeld(members, error);
    } catch (failure) {
      if (this.#options.kindOf(failure) === "away") return this.#rejectAll(members, failure);
      return rejectEach(members, failure);
    }
    const others = this.#withoutBlocked(members);
    if (others.length < members.length) return others.length > 0 ? this.#settle(others) : undefined;
    // Something else than a key, such as a gap between rows; or it is free by now.
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

  /** Those of these who want nothing that is held. The others step aside, or are refused when it is held for long. */
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

  /** Refuses those beside the line whose key has been held for longer than anybody waits for it. */
  #refuseLate(): void {
    const before = performance.now() - this.#patienceMs;
    this.#aside = this.#aside.filter((member) => {
      const late = this.#heldKeysOf(member).find(({ since }) => since < before);
      if (late) fail(member, late.error);
      return late === undefined;
    });
  }

  /** Puts those beside the line to its front who want nothing any more that is held. */
  #rejoin(): void {
    const stay: Member<Item, Result>[] = [];
    const free: Member<Item, Result>[] = [];
    for (const member of this.#aside) (this.#heldKeysOf(member).length > 0 ? stay : free).push(member);
    if (free.length === 0) return;
    this.#aside = stay;
    this.#waiting.unshift(...free);
    this.#running ??= this.#run();
  }

  /** Makes sure that somebody attends to those beside the line. */
  #attend(): void {
    this.#attending ??= this.#attendOnce();
  }

  /** One after the other, so that they take one connection, however many there are. */
  async #attendOnce(): Promise<void> {
    try {
      // Most of them need but one try: a batch may lock more rows than each of its items.
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
    const goesOn = this.#contenders.length + this.#aside.length + this.#held.size > 0;
    this.#attending = goesOn ? this.#attendOnce() : undefined;
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

  /** @throws what concerns all who wait. */
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

  /** Refuses those that have waited for as long as anybody does, whether they were tried meanwhile or not. */
  #refuseLateContenders(): void {
    const before = performance.now() - this.#patienceMs;
    const late = this.#contenders.filter(({ since }) => since <= before);
    if (late.length === 0) return;
    this.#contenders = this.#contenders.filter(({ since }) => since > before);
    for (const { member, error } of late) fail(member, error);
  }

  /** Looks which keys are free by now, and waits for one of the others, each in its turn. */
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
      // Others may be at a key that is much in demand whenever one looks; who waits in turn gets it, unless it is held.
      await this.#twice(() => locks.wait(key));
      this.#held.delete(key);
    } catch (error) {
      if (this.#options.kindOf(error) !== "contended") throw error;
      // To the end of the row.
      this.#held.delete(key);
      this.#held.set(key, Object.assign(held, { error }));
    }
    this.#rejoin();
    this.#refuseLate();
  }

  #twice<T>(work: () => Promise<T>): Promise<T> {
    return twiceIfAway(work, this.#options.kindOf);
  }

  /** These, and all who wait: those that were not part of what failed. */
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
 * The same without sharing: every item is flushed by itself, at once, and beside the others. What bounds how many at the
 * same moment is what the flush needs, such as connections; those who wait for that are at most `maxWaiting`, too.
 */
export class Unbatched<Item, Result> implements Committer<Item, Result> {
  readonly #options: Flushing<Item, Result>;
  readonly #maxWaiting: number;
  readonly #patienceMs: number;
  readonly #underWay = new Set<Promise<Result>>();

  constructor(options: GroupCommitOptions<Item, Result>) {
    this.#options = flushingOf(options);
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
  }

  submit(item: Item): Promise<Result> {
    if (this.#underWay.size >= this.#maxWaiting) {
      return Promise.reject(new OverloadedError(`${this.#underWay.size} are under way already`));
    }
    const result = new Promise<Result>((resolve, reject) => {
      const member: Member<Item, Result> = { item, resolve, reject };
      this.#settle(member).catch((error: unknown) => fail(member, error));
    });
    const done = result.finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
    return done;
  }

  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
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

/** What a flush takes. */
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

/** Gives each member its result. @throws what the flush throws; then nobody has one. */
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

/** Does it again, once, when the server was found away at once: that may have been the connection alone. */
async function twiceIfAway<T>(work: () => Promise<T>, kindOf: (error: unknown) => FailureKind): Promise<T> {
  const startedAt = performance.now();
  try {
    return await work();
  } catch (error) {
    if (kindOf(error) !== "away" || performance.now() - startedAt > PROMPT_MS) throw error;
  }
  return work();
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
