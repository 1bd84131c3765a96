import { asNeverSent, failureKindOf, isUnknownOutcome, type FailureKind } from "./storage-error.ts";

/** How to flush items. */
export interface FlushOptions<Item, Result> {
  /** A short name for metrics and traces. */
  readonly name?: string;
  /**
   * Does the work of many callers at once, all or nothing, and returns one result per item, in order. It is
   * called again for some or all items after it throws, so what it did must have been rolled back or be
   * idempotent.
   */
  readonly flush: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** Classifies errors of `flush` and `locks`. Default: as the database says; `item` for all others. */
  readonly kindOf?: (error: unknown) => FailureKind;
  /**
   * Whether a flush that failed with this error may have taken effect. Its callers get this error if the
   * retries fail too. Default: as the database says.
   */
  readonly isUnknown?: (error: unknown) => boolean;
  /**
   * Converts an `isUnknown` error for callers who only waited behind such a flush and for whom nothing was
   * done. Default: of the database's errors, the same that says so.
   */
  readonly asNeverSent?: (error: unknown) => unknown;
  /** Called after every flush, successful or not. */
  readonly observe?: ((batch: Batch) => void) | undefined;
}

/** A flush. */
export interface Batch {
  /** Callers that shared it. */
  readonly size: number;
  readonly seconds: number;
}

/**
 * An `away` error within this many milliseconds is retried: a broken connection fails at once. After that, the
 * server hangs and callers have waited long enough.
 */
const PROMPT_MS = 1_000;

/** A caller's item. */
export interface Member<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
  /** The error of an earlier try that may have taken effect. */
  unknown?: unknown;
}

/** The options, with defaults. */
export type Flushing<Item, Result> = Required<Omit<FlushOptions<Item, Result>, "name">>;

export function flushingOf<Item, Result>({
  flush,
  kindOf = failureKindOf,
  isUnknown = isUnknownOutcome,
  asNeverSent: withoutEffect = asNeverSent,
  observe = () => undefined,
}: FlushOptions<Item, Result>): Flushing<Item, Result> {
  return { flush, kindOf, isUnknown, asNeverSent: withoutEffect, observe };
}

/** Flushes the members and resolves each with its result. @throws what the flush throws */
export async function flushFor<Item, Result>(
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

/** Runs work, and once more after a prompt `away` error, which may only have been the connection. */
export async function twiceIfAway<T>(
  work: () => Promise<T>,
  kindOf: (error: unknown) => FailureKind,
): Promise<T> {
  const startedAt = performance.now();
  try {
    return await work();
  } catch (error) {
    if (kindOf(error) !== "away" || performance.now() - startedAt > PROMPT_MS) throw error;
  }
  return work();
}

/** Fails members. Those who may have been served by an earlier try get its error. */
export function rejectEach<Item, Result>(members: readonly Member<Item, Result>[], error: unknown): void {
  for (const member of members) fail(member, error);
}

export function fail<Item, Result>(member: Member<Item, Result>, error: unknown): void {
  member.reject(member.unknown ?? error);
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
