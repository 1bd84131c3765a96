/**
 * What a flush's error says about its items:
 *
 * - `item`: one of them is at fault. Each is retried alone, so that the others don't suffer.
 * - `contended`: another transaction holds a lock that one of them needs. Those that need it step aside.
 * - `away`: the server is unavailable. The flush is retried once; then everyone who waits gets the error, since
 *   the server won't be back for the next batch.
 */
export type FailureKind = "item" | "contended" | "away";

/**
 * A database operation failed. The errors in `db` extend this with details; this class has what every user of a
 * database needs to know.
 */
export abstract class StorageError extends Error {
  /** The kind of failure, which decides what happens to the work. */
  abstract readonly kind: FailureKind;
  /** A short description of how the database is away: "MySQL takes no writes". */
  abstract readonly how: string;
  /** Whether the operation may have taken effect. If false, it did not and never will. */
  abstract readonly isUnknown: boolean;
  /** The same error with this outcome. */
  abstract withOutcome(outcome: { readonly isUnknown: boolean }): StorageError;
}

/** Classifies the error of a batch; errors from outside the database count as an item's. */
export function failureKindOf(error: unknown): FailureKind {
  return error instanceof StorageError ? error.kind : "item";
}

/** Whether the database is away for everybody, so that no order is to blame. */
export function isDatabaseAway(error: unknown): error is StorageError {
  return error instanceof StorageError && error.kind === "away";
}

/** Whether the same work may succeed later: the database is away, or its rows were locked. */
export function isDatabaseUnavailable(error: unknown): error is StorageError {
  return error instanceof StorageError && error.kind !== "item";
}

/** Whether the failed operation may have taken effect. */
export function isUnknownOutcome(error: unknown): boolean {
  return error instanceof StorageError && error.isUnknown;
}

/** Converts an error with an unknown outcome for work that was not part of what failed. */
export function asNeverSent(error: unknown): unknown {
  return error instanceof StorageError && error.isUnknown ? error.withOutcome({ isUnknown: false }) : error;
}

/**
 * Runs work that follows an earlier step of the same request that took effect, so a failure can't mean that
 * nothing was done.
 * @throws {StorageError} marked `isUnknown`, or what the work throws
 */
export async function afterwards<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof StorageError ? error.withOutcome({ isUnknown: true }) : error;
  }
}
