import { DrizzleQueryError } from "drizzle-orm";
import type { FailureKind } from "../src/platform/storage-error.ts";
import { StorageError } from "../src/platform/storage-error.ts";

/*
 * Kinds of database errors:
 *
 * - `item`: the data is at fault, on any server. A closed list.
 * - `contended`: a conflict with another transaction. This one was rolled back; a retry may succeed.
 * - `away`: the server can't do its work: it is unreachable, read-only or full, refuses the account, or has
 *   killed the statement. Includes every number that is not listed.
 *
 * The numbers are MySQL 8.0 to 9.x's (share/messages_to_clients.txt; "Server Error Message Reference" in its
 * manual) and MariaDB 10.11 to 12's (sql/share/errmsg-utf8.txt; "MariaDB Error Code Reference"). Up to 1800
 * they are the same; above, only those are listed that mean nothing else on the other server in a statement of
 * this program.
 */

const DUPLICATE_KEY = 1062;
const OUT_OF_RANGE = 1690;
const LOCK_WAIT_TIMEOUT = 1205;

const ITEM = new Set([
  1022, // ER_DUP_KEY
  DUPLICATE_KEY, // ER_DUP_ENTRY
  1169, // ER_DUP_UNIQUE
  1586, // ER_DUP_ENTRY_WITH_KEY_NAME
  1216, // ER_NO_REFERENCED_ROW
  1217, // ER_ROW_IS_REFERENCED
  1451, // ER_ROW_IS_REFERENCED_2
  1452, // ER_NO_REFERENCED_ROW_2
  3819, // MySQL: ER_CHECK_CONSTRAINT_VIOLATED
  4025, // MariaDB: ER_CONSTRAINT_FAILED. (MySQL: ER_INNODB_AUTOEXTEND_SIZE_OUT_OF_RANGE, of DDL)
  1048, // ER_BAD_NULL_ERROR
  1263, // ER_WARN_NULL_TO_NOTNULL
  1264, // ER_WARN_DATA_OUT_OF_RANGE
  1265, // WARN_DATA_TRUNCATED
  1292, // ER_TRUNCATED_WRONG_VALUE
  1300, // ER_INVALID_CHARACTER_STRING
  1365, // ER_DIVISION_BY_ZERO
  1366, // ER_TRUNCATED_WRONG_VALUE_FOR_FIELD
  1367, // ER_ILLEGAL_VALUE_FOR_TYPE
  1406, // ER_DATA_TOO_LONG
  1411, // ER_WRONG_VALUE_FOR_TYPE
  1441, // ER_DATETIME_FUNCTION_OVERFLOW
  OUT_OF_RANGE, // ER_DATA_OUT_OF_RANGE
  3140, // MySQL: ER_INVALID_JSON_TEXT
  3141, // MySQL: ER_INVALID_JSON_TEXT_IN_PARAM
  3156, // MySQL: ER_INVALID_JSON_VALUE_FOR_CAST
  3157, // MySQL: ER_JSON_DOCUMENT_TOO_DEEP
  3854, // MySQL: ER_CANNOT_CONVERT_STRING
  1118, // ER_TOO_BIG_ROWSIZE
  1713, // ER_UNDO_RECORD_TOO_BIG
  // A statement beyond max_allowed_packet. One of many items may fit alone.
  1153, // ER_NET_PACKET_TOO_LARGE
  1301, // ER_WARN_ALLOWED_PACKET_OVERFLOWED
]);

const CONTENDED = new Set([
  LOCK_WAIT_TIMEOUT, // ER_LOCK_WAIT_TIMEOUT; on MariaDB also NOWAIT
  1213, // ER_LOCK_DEADLOCK, also at COMMIT, and of Galera's certification
  3572, // MySQL: ER_LOCK_NOWAIT
  1020, // ER_CHECKREAD: MariaDB with innodb_snapshot_isolation, and Galera
  1412, // ER_TABLE_DEF_CHANGED: "please retry transaction"
  3101, // MySQL: ER_TRANSACTION_ROLLBACK_DURING_COMMIT, of Group Replication's certification
]);

/** Why a server that answers, and may serve reads, takes no writes. Does not decide which errors are `away`. */
const WRITES_NOTHING = new Map([
  [1290, "it is read-only"], // ER_OPTION_PREVENTS_STATEMENT: read_only, super_read_only, innodb_read_only
  [1792, "the transaction is read-only"], // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
  [1836, "it is read-only"], // ER_READ_ONLY_MODE
  [1036, "the table is read-only"], // ER_OPEN_AS_READONLY: MariaDB with innodb_read_only
  [1874, "it is read-only"], // MySQL: ER_INNODB_READ_ONLY
  [3989, "the database is read-only"], // MySQL: ER_SCHEMA_READ_ONLY
  [1114, "the table is full"], // ER_RECORD_FILE_FULL: also when the disk is
  [1021, "the disk is full"], // ER_DISK_FULL
  [1047, "the node is not in its cluster"], // ER_UNKNOWN_COM_ERROR: Galera's "WSREP has not yet prepared node"
  [3100, "the group does not commit"], // MySQL: ER_RUN_HOOK_ERROR, of Group Replication without a majority
]);

/** Errors that concern one statement or connection and no others of the same server. */
const CONCERNS_ONE_CONNECTION = new Set([
  1317, // ER_QUERY_INTERRUPTED: KILL QUERY
  1969, // MariaDB: ER_STATEMENT_TIMEOUT, of max_statement_time
  3024, // MySQL: ER_QUERY_TIMEOUT, of max_execution_time
  1927, // MariaDB: ER_CONNECTION_KILLED
  3169, // MySQL: ER_SESSION_WAS_KILLED
  4031, // MySQL: ER_CLIENT_INTERACTION_TIMEOUT
]);

/** The server closes the connection with this error. */
const TOO_LARGE = new Set([1153]);

/**
 * A failed query. Carries only the server's error number and code, since the messages of the driver and the
 * query builder quote values, which may be payment tokens and addresses.
 */
export class DatabaseError extends StorageError {
  override name = "DatabaseError";
  /** MySQL's error number; undefined if the server did not answer. */
  readonly errno: number | undefined;
  /** Such as ER_DUP_ENTRY, or ECONNREFUSED. */
  readonly code: string;
  /**
   * The transaction may have taken effect: COMMIT was sent but not answered. False means that it did not and
   * never will.
   */
  readonly isUnknown: boolean;

  constructor(
    code: string,
    errno: number | undefined,
    { isUnknown = false }: { readonly isUnknown?: boolean } = {},
  ) {
    super(messageOf(code, errno) + (isUnknown ? "; whether it took effect is unknown" : ""));
    this.code = code;
    this.errno = errno;
    this.isUnknown = isUnknown;
  }

  get kind(): FailureKind {
    if (this.errno === undefined) return "away";
    if (ITEM.has(this.errno)) return "item";
    return CONTENDED.has(this.errno) ? "contended" : "away";
  }

  get how(): string {
    if (this.errno === undefined) return "MySQL does not answer";
    return this.isReadOnly ? "MySQL takes no writes" : "MySQL refuses to serve";
  }

  withOutcome(outcome: { readonly isUnknown: boolean }): DatabaseError {
    return new DatabaseError(this.code, this.errno, outcome);
  }

  /** The lock wait timed out. */
  get isLockWait(): boolean {
    return this.errno === LOCK_WAIT_TIMEOUT;
  }

  get isDuplicateKey(): boolean {
    return this.errno === DUPLICATE_KEY;
  }

  /** A number became too large. */
  get isOutOfRange(): boolean {
    return this.errno === OUT_OF_RANGE;
  }

  /** The server answers but takes no writes; reads may still succeed. */
  get isReadOnly(): boolean {
    return this.errno !== undefined && WRITES_NOTHING.has(this.errno);
  }

  /** The connection must not be reused: it is broken, or its server can't do its work. */
  get endsConnection(): boolean {
    return this.kind === "away" || (this.errno !== undefined && TOO_LARGE.has(this.errno));
  }

  /**
   * All connections to the same server are suspect, since it refuses its work or does not answer; new ones may
   * lead to another server, as after a failover. A closed connection does not put others in doubt: they were
   * closed too, or they work.
   */
  get doubtsConnections(): boolean {
    if (this.errno === undefined) return this.code === TIMEOUT;
    return this.kind === "away" && !CONCERNS_ONE_CONNECTION.has(this.errno);
  }
}

/** The error code of a timeout. */
export const TIMEOUT = "TIMEOUT";

/**
 * The server refused a commit past its deadline, when the caller has given up. Nothing was done. See `Fence` in
 * fence.ts.
 */
export class LateCommitError extends DatabaseError {
  override name = "LateCommitError";

  constructor() {
    super("LATE_COMMIT", undefined);
  }
}

/**
 * Errors, besides those of an item or of contended rows, after which nothing was committed: the server refused the statement
 * before it began. Any other error may come from a COMMIT that took effect, for example if the binary log can't be written,
 * or if a proxy answers for a server that it has lost.
 */
const NOT_COMMITTED = new Set([
  ...WRITES_NOTHING.keys(),
  1045, // ER_ACCESS_DENIED_ERROR
  1049, // ER_BAD_DB_ERROR
  1054, // ER_BAD_FIELD_ERROR
  1064, // ER_PARSE_ERROR
  1142, // ER_TABLEACCESS_DENIED_ERROR
  1143, // ER_COLUMNACCESS_DENIED_ERROR
  1146, // ER_NO_SUCH_TABLE
]);

/** The connection was closed before the statement was sent. */
export const CONNECTION_CLOSED = "CONNECTION_CLOSED";

/** Interprets an error that came after COMMIT was sent, alone or with other statements. */
export function afterCommitWasSent(error: unknown): unknown {
  const failure = withoutValues(error);
  if (!(failure instanceof DatabaseError) || failure instanceof LateCommitError) return failure;
  const { code, errno } = failure;
  const isKnown =
    errno === undefined ? code === CONNECTION_CLOSED : failure.kind !== "away" || NOT_COMMITTED.has(errno);
  return isKnown ? failure : new DatabaseError(code, errno, { isUnknown: true });
}

function messageOf(code: string, errno: number | undefined): string {
  if (errno === undefined) return `MySQL did not answer: ${code}`;
  const why = WRITES_NOTHING.get(errno);
  return why === undefined
    ? `MySQL refused the statement: ${code} (${errno})`
    : `MySQL takes no writes: ${why} (${errno})`;
}

/**
 * Converts an error of the driver or the query builder to a {@link DatabaseError}; returns other errors
 * unchanged.
 */
export function withoutValues(error: unknown): unknown {
  const cause = error instanceof DrizzleQueryError ? error.cause : error;
  if (cause instanceof DatabaseError) return cause;
  const { code, errno } = named(cause);
  if (code !== undefined) return new DatabaseError(code, errno);
  // The driver has no names for MariaDB's own errors and those of newer servers.
  if (errno !== undefined) return new DatabaseError(`ERROR_${errno}`, errno);
  return error instanceof DrizzleQueryError ? new DatabaseError("UNKNOWN", undefined) : error;
}

function named(error: unknown): { readonly code?: string | undefined; readonly errno?: number | undefined } {
  if (typeof error !== "object" || error === null) return {};
  const [code, errno] = [Reflect.get(error, "code"), Reflect.get(error, "errno")] as unknown[];
  return {
    code: typeof code === "string" ? code : undefined,
    // Connection errors have a negative number (libuv's) or none; server errors have a positive one.
    errno: typeof errno === "number" && errno > 0 ? errno : undefined,
  };
}
