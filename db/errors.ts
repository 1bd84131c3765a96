import { DrizzleQueryError } from "drizzle-orm";

/** Deadlock (also at COMMIT), and lock wait timeout: the transaction may be tried again as a whole. */
const TRANSIENT = new Set([1213, 1205]);
const DUPLICATE_KEY = 1062;
const OUT_OF_RANGE = 1690;
/** Too many connections, the server shuts down, the connection was killed, and the same of MariaDB. */
const SERVER_GONE = new Set([1040, 1053, 1203, 1927, 3169]);

/**
 * MySQL could not do what was asked. Carries the server's error number and code and nothing else: the texts of the
 * driver and of the query builder quote the statement's values, which may be payment tokens and addresses.
 */
export class DatabaseError extends Error {
  override name = "DatabaseError";
  /** MySQL's error number; absent when the server was not reached. */
  readonly errno: number | undefined;
  /** Such as ER_DUP_ENTRY, or ECONNREFUSED. */
  readonly code: string;

  constructor(code: string, errno: number | undefined) {
    super(
      errno === undefined
        ? `MySQL did not answer: ${code}`
        : `MySQL refused the statement: ${code} (${errno})`,
    );
    this.code = code;
    this.errno = errno;
  }

  /** Worth trying the whole transaction again at once. */
  get isTransient(): boolean {
    return this.errno !== undefined && TRANSIENT.has(this.errno);
  }

  get isDuplicateKey(): boolean {
    return this.errno === DUPLICATE_KEY;
  }

  /** A number became too large. */
  get isOutOfRange(): boolean {
    return this.errno === OUT_OF_RANGE;
  }

  /** The server could not be reached, or was lost on the way. */
  get isUnavailable(): boolean {
    return this.errno === undefined || SERVER_GONE.has(this.errno);
  }
}

/** A server that does not answer is nobody's fault; a statement that it refuses may be one item's of a batch. */
export function mayBeOneItem(error: unknown): boolean {
  return !(error instanceof DatabaseError && error.isUnavailable);
}

/** A driver's or query builder's error as a {@link DatabaseError}; any other error as it is. */
export function withoutValues(error: unknown): unknown {
  const cause = error instanceof DrizzleQueryError ? error.cause : error;
  if (cause instanceof DatabaseError) return cause;
  if (typeof cause !== "object" || cause === null || !("code" in cause) || typeof cause.code !== "string") {
    return error instanceof DrizzleQueryError ? new DatabaseError("UNKNOWN", undefined) : error;
  }
  // Errors of the connection have a negative errno (libuv's) or none; those of the server a positive one.
  const errno =
    "errno" in cause && typeof cause.errno === "number" && cause.errno > 0 ? cause.errno : undefined;
  return new DatabaseError(cause.code, errno);
}
