import { drizzle } from "drizzle-orm/mysql2";
import { createPool, type Pool, type PoolConnection } from "mysql2/promise";
import { settleWithin } from "../src/platform/settle-within.ts";
import {
  afterCommitWasSent,
  CONNECTION_CLOSED,
  DatabaseError,
  LateCommitError,
  TIMEOUT,
  withoutValues,
} from "./errors.ts";
import { Fence, isLate } from "./fence.ts";
import type { Builder, Queries, Reads, Statement, Transaction, Write } from "./queries.ts";

/** One of a transaction's last writes did not affect as many rows as it must: nothing was committed. */
export class UnexpectedCountError extends Error {
  override name = "UnexpectedCountError";

  constructor() {
    super("a statement affected more or fewer rows than it must: nothing was committed");
  }
}

export interface DatabaseOptions {
  /** mysql://user:password@host:port/database */
  readonly url: string;
  /** Connections at most; all processes together must stay below the server's `max_connections`. */
  readonly poolSize?: number;
  /**
   * Milliseconds that a transaction may take, the wait for its connection included: a MySQL that hangs is one that is
   * away. One that runs again after a deadlock has them again.
   */
  readonly timeoutMs?: number;
}

const TRANSACTION_TRIES = 5;
/** Callers that may wait for a connection before further ones are refused. */
const WAITING_LIMIT = 1_000;
const TIMEOUT_MS = 10_000;

/**
 * Said on every new connection, so that the server's own settings don't matter: UTC, strict about data that doesn't
 * fit, locks that give up in seconds, and READ COMMITTED, which locks rows and not the gaps between them.
 */
const SESSION = [
  `SET SESSION time_zone = '+00:00',
    sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION',
    innodb_lock_wait_timeout = 1`,
  "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/**
 * MySQL, or MariaDB: a pool of connections, and transactions over it. Nothing is opened before the first query.
 *
 * After a failover, connections stay that lead to the old server, which is read-only now, or silent. So a connection on
 * which MySQL was found away ({@link DatabaseError.endsConnection}) is closed, and where the server is to blame, all that
 * are as old are closed instead of being used again: one error is enough to have only connections to the new server.
 */
export class Database {
  readonly #pool: Pool;
  readonly #fence: Fence;
  readonly #timeoutMs: number;
  /** When each connection was opened, counted in doubts: those of an earlier count than the present are not used again. */
  readonly #opened = new WeakMap<object, number>();
  #doubts = 0;
  /** Connections that have done something before. */
  readonly #used = new WeakSet<object>();

  constructor({ url, poolSize = 10, timeoutMs = TIMEOUT_MS }: DatabaseOptions) {
    this.#timeoutMs = timeoutMs;
    this.#fence = new Fence(timeoutMs);
    this.#pool = createPool({
      uri: url,
      connectionLimit: poolSize,
      queueLimit: WAITING_LIMIT,
      connectTimeout: timeoutMs,
      charset: "utf8mb4",
      timezone: "Z",
      // Taking a stack trace for every statement, in case it fails, is expensive.
      trace: false,
      // For round trips that statements share. Values never become part of a statement's text but escaped.
      multipleStatements: true,
    });
    this.#pool.pool.on("connection", (connection) => {
      this.#opened.set(connection, this.#doubts);
      for (const statement of SESSION) {
        connection.query(statement, (error) => {
          // A connection in an unknown session must not be used.
          if (error) connection.destroy();
        });
      }
    });
  }

  /**
   * Reads: runs statements, each on its own, on one connection.
   *
   * @param options `timeoutMs`: instead of what a transaction may take. To exceed it says nothing of other connections.
   * @throws {DatabaseError}
   */
  async query<T>(
    work: (queries: Reads) => Promise<T>,
    { timeoutMs }: { readonly timeoutMs?: number } = {},
  ): Promise<T> {
    const deadline = performance.now() + (timeoutMs ?? this.#timeoutMs);
    const connection = await this.#connection(deadline);
    try {
      const result = await work(drizzle({ client: prepared(connection, deadline) }));
      this.#release(connection);
      return result;
    } catch (error) {
      const failure = withoutValues(error);
      if (timeoutMs === undefined || !isTimeout(failure)) this.#doubt(failure);
      if (isGone(failure)) connection.destroy();
      else this.#release(connection);
      throw failure;
    }
  }

  /**
   * Runs `work` in one transaction: committed when it returns, rolled back when it throws. After a deadlock or a lock
   * timeout the whole of it runs again, at once and up to five times, so `work` must have no effect outside. So it does,
   * once and on a new connection, when a connection from before turns out to lead to a server that takes no writes.
   *
   * What is given up here can't be committed later: with COMMIT goes the time until which the server may do it ({@link
   * Fence}). When the server refuses although this process still waits, its clock may have been set, or this process have
   * stood still: then all of it runs once more, by what the clock says then.
   *
   * Not nested, and not drizzle's own `transaction()`: that leaks the connection when BEGIN fails, and hides the error
   * behind that of a failing ROLLBACK.
   *
   * @param options `lockWaits`: how often it waits for a lock until `innodb_lock_wait_timeout` (one second) before it gives
   * up. Once is right for what holds other rows while it waits for one.
   * @throws {DatabaseError} or what `work` throws. Nothing of it was done then, nor will be, unless the error `isUnknown`:
   * COMMIT was sent, and the connection lost, or the answer too late.
   */
  async transaction<T>(
    work: (queries: Transaction) => Promise<T>,
    { lockWaits = TRANSACTION_TRIES }: { readonly lockWaits?: number } = {},
  ): Promise<T> {
    let waits = 0;
    let wasLate = false;
    let mayBeOutdated = true;
    for (let tries = 1; ; tries++) {
      const deadline = performance.now() + this.#timeoutMs;
      const connection = await this.#connection(deadline);
      const isUsed = this.#used.has(connection.connection);
      try {
        return await this.#transactionOn(connection, deadline, work);
      } catch (error) {
        const failure = withoutValues(error);
        this.#doubt(failure);
        if (!(failure instanceof DatabaseError)) throw failure;
        const isOutdated = isUsed && mayBeOutdated && failure.isReadOnly;
        if (isOutdated) mayBeOutdated = false;
        else if (failure instanceof LateCommitError && !wasLate) wasLate = true;
        else if (failure.kind !== "contended" || tries === TRANSACTION_TRIES) throw failure;
        else if (failure.isLockWait && ++waits === lockWaits) throw failure;
      }
    }
  }

  /** A connection of its own, for what is bound to a session, such as GET_LOCK; its statements may take any time. */
  async withConnection<T>(work: (connection: PoolConnection, queries: Queries) => Promise<T>): Promise<T> {
    const connection = await this.#pool.getConnection().catch((error: unknown) => {
      throw withoutValues(error);
    });
    try {
      return await work(connection, drizzle({ client: connection }));
    } catch (error) {
      throw withoutValues(error);
    } finally {
      connection.destroy();
    }
  }

  /**
   * How many connections are open, and how many callers wait for one; undefined where the pool does not tell: the
   * driver keeps these lists to itself.
   */
  get use(): { readonly inUse: number; readonly idle: number; readonly waiting: number } | undefined {
    const { pool } = this.#pool;
    const [all, idle, waiting] = ["_allConnections", "_freeConnections", "_connectionQueue"].map((name) =>
      lengthOf(Reflect.get(pool, name)),
    );
    if (all === undefined || idle === undefined || waiting === undefined) return undefined;
    return { inUse: all - idle, idle, waiting };
  }

  /** Closes every connection, after the statements under way. */
  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #connection(deadline: number): Promise<PoolConnection> {
    const pending = this.#undoubted();
    try {
      return await inTime(pending, deadline);
    } catch (error) {
      // One that comes after all is for others to use.
      pending.then(
        (connection) => connection.release(),
        () => undefined,
      );
      const failure = withoutValues(error);
      // The pool refuses callers over its limit with an error that has no code.
      throw failure instanceof DatabaseError ? failure : new DatabaseError("POOL_EXHAUSTED", undefined);
    }
  }

  async #undoubted(): Promise<PoolConnection> {
    for (;;) {
      const connection = await this.#pool.getConnection();
      if (this.#opened.get(connection.connection) === this.#doubts) return connection;
      connection.destroy();
    }
  }

  /** Says what an error means for the connections that are open. */
  #doubt(failure: unknown): void {
    if (failure instanceof DatabaseError && failure.doubtsConnections) this.#doubts++;
  }

  #release(connection: PoolConnection): void {
    this.#used.add(connection.connection);
    connection.release();
  }

  async #transactionOn<T>(
    connection: PoolConnection,
    deadline: number,
    work: (queries: Transaction) => Promise<T>,
  ): Promise<T> {
    let clean = false;
    try {
      const ask = connection.query.bind(connection);
      const fence = await this.#fence.before(deadline, connection, (sql) => inTime(ask(sql), deadline));
      begun(prepared(connection, deadline));
      let result: T;
      try {
        let committed: Promise<void> | undefined;
        const commit: Transaction["commit"] = (writes) => {
          if (committed) throw new Error("the transaction was committed before");
          return (committed = sendCommit(connection, [...writes.flatMap(asStatements), fence], deadline));
        };
        result = await work(Object.assign(drizzle({ client: connection }), { commit }));
        await (committed ?? commit([]));
      } catch (error) {
        // A server that does not answer would not answer this either: the end of the connection rolls back as well.
        clean = !isGone(error) && (await succeeds(say(connection, "ROLLBACK")));
        if (isLate(error)) {
          this.#fence.distrustClocks();
          throw new LateCommitError();
        }
        throw error;
      }
      clean = true;
      return result;
    } finally {
      if (clean) this.#release(connection);
      else connection.destroy();
    }
  }
}

/**
 * Sends the last statements of a transaction together with COMMIT: the one place that does.
 *
 * @throws {UnexpectedCountError} @throws {DatabaseError} one that `isUnknown` unless nothing was committed for sure.
 */
async function sendCommit(
  connection: PoolConnection,
  last: readonly Statement[],
  deadline: number,
): Promise<void> {
  // Too late before it was sent is not too late at the server.
  if (performance.now() >= deadline) throw new DatabaseError(TIMEOUT, undefined);
  try {
    await say(
      connection,
      [...last.map(({ sql }) => sql), "COMMIT"].join(";\n"),
      last.flatMap(({ values }) => values),
    );
  } catch (error) {
    if (isOutOfRange(error) && last.some(isCheck)) throw new UnexpectedCountError();
    throw afterCommitWasSent(error);
  }
}

function asStatements(write: Write | Builder): Statement[] {
  if ("toSQL" in write) {
    const { sql, params } = write.toSQL();
    return [{ sql, values: params }];
  }
  return write.mustAffect === undefined ? [write] : [write, mustHaveAffected(write.mustAffect)];
}

const CHECK = "SET @affected = 9223372036854775807 + (ROW_COUNT() <> ?)";

/**
 * Ends a row of statements, and the transaction with it, unless the one before affected so many rows. SQL has no
 * conditions outside of procedures; but a number beyond BIGINT is an error, in MySQL and in MariaDB. (Not in a `DO`, which
 * hides errors.)
 */
function mustHaveAffected(rows: number): Statement {
  return { sql: CHECK, values: [rows] };
}

function isCheck({ sql }: Statement): boolean {
  return sql === CHECK;
}

function isOutOfRange(error: unknown): boolean {
  const failure = withoutValues(error);
  return failure instanceof DatabaseError && failure.isOutOfRange;
}

function lengthOf(list: unknown): number | undefined {
  const length: unknown = typeof list === "object" && list !== null ? Reflect.get(list, "length") : undefined;
  return typeof length === "number" ? length : undefined;
}

/** A statement of the connection's own. @throws {DatabaseError} also for a connection that was closed meanwhile. */
async function say(
  connection: PoolConnection,
  statement: string,
  values: readonly unknown[] = [],
): Promise<void> {
  try {
    await connection.query(statement, [...values]);
  } catch (error) {
    const failure = withoutValues(error);
    throw failure instanceof DatabaseError ? failure : new DatabaseError(CONNECTION_CLOSED, undefined);
  }
}

function isGone(error: unknown): boolean {
  const failure = withoutValues(error);
  return failure instanceof DatabaseError && failure.endsConnection;
}

function isTimeout(failure: unknown): boolean {
  return failure instanceof DatabaseError && failure.code === TIMEOUT;
}

function succeeds(work: Promise<void>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

type Query = (statement: string | { readonly sql: string }, values?: unknown) => Promise<[unknown, unknown]>;

/** The same connection, whose statements are given up at the deadline; then it is of no use any more. */
function prepared(connection: PoolConnection, deadline: number): PoolConnection {
  return withQuery(
    connection,
    (query) =>
      (...statement) =>
        inTime(query(...statement), deadline),
  );
}

/** The same connection, on which START TRANSACTION goes along with the first statement, in one round trip. */
function begun(connection: PoolConnection): PoolConnection {
  let begins = true;
  return withQuery(connection, (query) => async (statement, values) => {
    if (!begins) return query(statement, values);
    begins = false;
    const { sql, ...options } = typeof statement === "string" ? { sql: statement } : statement;
    return withoutFirst(await query({ ...options, sql: `START TRANSACTION;\n${sql}` }, values));
  });
}

function withQuery(connection: PoolConnection, change: (query: Query) => Query): PoolConnection {
  const query = connection.query.bind(connection);
  const plain: Query = (...statement) => Promise.resolve(Reflect.apply(query, undefined, statement));
  return Object.defineProperty(connection, "query", { value: change(plain), configurable: true });
}

/** What the driver answers to several statements, less the answer to the first. */
function withoutFirst([results, fields]: [unknown, unknown]): [unknown, unknown] {
  return [rest(results), rest(fields)];
}

/** One is given by itself, as to a statement that came alone. */
function rest(answers: unknown): unknown {
  if (!Array.isArray(answers)) return answers;
  return answers.length === 2 ? answers[1] : answers.slice(1);
}

/** @param deadline as `performance.now()` has it. @throws {DatabaseError} when it takes too long. */
function inTime<T>(pending: Promise<T>, deadline: number): Promise<T> {
  return settleWithin(deadline - performance.now(), pending, () => {
    throw new DatabaseError(TIMEOUT, undefined);
  });
}
