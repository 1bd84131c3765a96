import type { FailureKind } from "./group-commit.ts";

/**
 * The database could not do what was asked of it. What exactly it met is the business of `db`, whose errors extend this;
 * here is what everybody has to know who works with a database.
 */
export abstract class StorageError extends Error {
  /** Whose fault it is, and by that what becomes of the work. */
  abstract readonly kind: FailureKind;
  /** In a few words, how the database is away: "MySQL takes no writes". */
  abstract readonly how: string;
  /** What was asked for may have taken effect all the same. False means that nothing of it did, and nothing will. */
  abstract readonly isUnknown: boolean;
  /** The same error, if the outcome is unknown, or known. */
  abstract withOutcome(outcome: { readonly isUnknown: boolean }): StorageError;
}

/** What an error says of a batch that failed. One that is none of the database's may be one item's. */
export function failureKindOf(error: unknown): FailureKind {
  return error instanceof StorageError ? error.kind : "item";
}

/** Whether the database is away for everybody, so that nobody's work may fail for it. */
export function isDatabaseAway(error: unknown): error is StorageError {
  return error instanceof StorageError && error.kind === "away";
}

/** Whether the work, tried again later as it is, may succeed: the database is away, or somebody else was at its rows. */
export function isDatabaseUnavailable(error: unknown): error is StorageError {
  return error instanceof StorageError && error.kind !== "item";
}

/** Whether what was asked for may have taken effect although it failed. */
export function isUnknownOutcome(error: unknown): boolean {
  return error instanceof StorageError && error.isUnknown;
}

/** What an error with an unknown outcome is for those whose work was no part of what failed. */
export function asNeverSent(error: unknown): unknown {
  return error instanceof StorageError && error.isUnknown ? error.withOutcome({ isUnknown: false }) : error;
}

/**
 * Does what follows a step of the same request that took effect: when that fails, it can't be said that nothing was done.
 * @throws {StorageError} one that `isUnknown`, or what the work throws.
 */
export async function afterwards<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof StorageError ? error.withOutcome({ isUnknown: true }) : error;
  }
}
