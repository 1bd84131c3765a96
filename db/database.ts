import { drizzle } from "drizzle-orm/mysql2";
import { createPool, type Pool, type PoolConnection } from "mysql2/promise";
import { noteServerTime } from "../src/platform/clock.ts";
import { mysqlAddress } from "../src/platform/mysql-url.ts";
import { settleWithin } from "../src/platform/time-limit.ts";
import { commitOneByOne, commitTogether, say } from "./commit.ts";
import { DatabaseError, LateCommitError, TIMEOUT, withoutValues } from "./errors.ts";
import { Fence, isLate, READ_CLOCK, timeIn } from "./fence.ts";
import type { Queries, Reads, Transaction } from "./queries.ts";
import { prepareSession, type Session } from "./session.ts";
import { sendOneByOne } from "./statements.ts";

export interface DatabaseOptions {
  /** mysql://user:password@host:port/database */
  readonly url: string;
  /** Maximum number of connections; all processes together must stay below the server's `max_connections`. */
  readonly poolSize?: number;
  /**
   * Timeout of a transaction in milliseconds, including the wait for a connection: a MySQL that hangs counts as
   * away. A retry after a deadlock has its own timeout.
   */
  readonly timeoutMs?: number;
  /** Whether it only reads, and may read what is somewhat old: nothing may be decided by it. */
  readonly mayLag?: boolean;
}

const TRANSACTION_TRIES = 5;
/** Callers that may wait for a connection; more are refused. */
const WAITING_LIMIT = 1_000;
/** For a new connection, in milliseconds. */
const CONNECT_MS = 10_000;
const TIMEOUT_MS = 10_000;

/**
 * A connection pool for MySQL or MariaDB, with transactions. Connects on the first query.
 *
 * After a failover, existing connections still lead to the old server, which is now read-only or silent. So a
 * connection with such an error ({@link DatabaseError.endsConnection}) is closed, and if the server is at
 * fault, so are all connections as old as it: after one error, only connections to the new server remain.
 */
export class Database {
  readonly #pool: Pool;
  readonly #fence: Fence;
  readonly #timeoutMs: number;
  /** The value of `#doubts` when each connection was opened; connections with an earlier value are not reused. */
  readonly #opened = new WeakMap<object, number>();
  #doubts = 0;
  readonly #sessions = new WeakMap<object, Promise<Session>>();
  /** Connections that have been used. */
  readonly #used = new WeakSet<object>();

  constructor({ url, poolSize = 10, timeoutMs = TIMEOUT_MS, mayLag = false }: DatabaseOptions) {
    this.#timeoutMs = timeoutMs;
    this.#fence = new Fence(timeoutMs);
    this.#pool = createPool({
      ...mysqlAddress(url),
      connectionLimit: poolSize,
      queueLimit: WAITING_LIMIT,
      // Callers stop waiting by their own time limit. The driver's would fire before the server's greeting is read, after the
      // process was busy for that long.
      connectTimeout: Math.max(CONNECT_MS, timeoutMs),
      charset: "utf8mb4",
      timezone: "Z",
      // Taking a stack trace for every statement, in case it fails, is expensive.
      trace: false,
      // Lets statements share a round trip. Values are always escaped.
      multipleStatements: true,
    });
    this.#pool.pool.on("connection", (connection) => {
      this.#opened.set(connection, this.#doubts);
      const session = prepareSession(connection, { mayLag });
      // Whoever uses the connection gets the error.
      session.catch(() => undefined);
      this.#sessions.set(connection, session);
    });
  }

  /**
   * Runs reads on one connection, without a transaction.
   *
   * @param options `timeoutMs` overrides the timeout of transactions; exceeding it does not put other
   * connections in doubt.
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
   * Runs `work` in a transaction, which is committed when it returns and rolled back when it throws. After a
   * deadlock or a lock timeout it is retried at once, up to five times, so `work` must have no side effects. It
   * is also retried once, on a new connection, if a used connection leads to a server that takes no writes.
   *
   * A transaction that timed out can't be committed later: COMMIT carries a deadline ({@link Fence}). If the
   * server refuses a commit before this process has timed out, a clock was set or the process froze; then the
   * transaction is retried once with fresh clocks.
   *
   * Must not be nested. Does not use drizzle's `transaction()`, which leaks the connection if BEGIN fails, and
   * hides the error if ROLLBACK fails too.
   *
   * @param options `lockWaits`: how many lock timeouts (`innodb_lock_wait_timeout`, one second) to allow. Use 1
   * for transactions that hold other rows while they wait.
   * @throws {DatabaseError} or what `work` throws. Nothing was or will be committed, unless the error
   * `isUnknown`: COMMIT was sent, but the connection was lost or the answer came too late.
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

  /** Reads the server's clock, for `src/platform/clock.ts`. @throws {DatabaseError} */
  async readClock(): Promise<void> {
    await this.query(async ({ $client }) => {
      const askedAt = performance.now();
      const [rows] = await $client.query(READ_CLOCK);
      noteServerTime(timeIn(rows), askedAt);
    });
  }

  /** Runs `work` on a dedicated connection without a timeout, for session state such as GET_LOCK. */
  async withConnection<T>(work: (connection: PoolConnection, queries: Queries) => Promise<T>): Promise<T> {
    const connection = await this.#prepared().catch((error: unknown) => {
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
   * The number of connections and of callers waiting for one; undefined if the driver's internal lists are not
   * there.
   */
  get use(): { readonly inUse: number; readonly idle: number; readonly waiting: number } | undefined {
    const { pool } = this.#pool;
    const [all, idle, waiting] = ["_allConnections", "_freeConnections", "_connectionQueue"].map((name) =>
      lengthOf(Reflect.get(pool, name)),
    );
    if (all === undefined || idle === undefined || waiting === undefined) return undefined;
    return { inUse: all - idle, idle, waiting };
  }

  /** Closes all connections once running statements have finished. */
  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #connection(deadline: number): Promise<PoolConnection> {
    const pending = this.#undoubted();
    try {
      return await inTime(pending, deadline);
    } catch (error) {
      // A connection that arrives late goes back to the pool.
      pending.then(
        (connection) => connection.release(),
        () => undefined,
      );
      const failure = withoutValues(error);
      // The pool's error for too many callers has no code.
      throw failure instanceof DatabaseError ? failure : new DatabaseError("POOL_EXHAUSTED", undefined);
    }
  }

  async #prepared(): Promise<PoolConnection> {
    const connection = await this.#pool.getConnection();
    await this.#sessions.get(connection.connection);
    return connection;
  }

  async #undoubted(): Promise<PoolConnection> {
    for (;;) {
      const connection = await this.#prepared();
      if (this.#opened.get(connection.connection) === this.#doubts) return connection;
      connection.destroy();
    }
  }

  /** Begins a transaction with its first statement. @returns how it ends. */
  async #begin(connection: PoolConnection, deadline: number): Promise<Transaction["commit"]> {
    const session = await this.#sessions.get(connection.connection);
    if (session?.isGalera) {
      sendOneByOne(prepared(connection, deadline));
      await say(connection, "START TRANSACTION");
      const fence = await this.#fence.before(deadline, connection, (sql) => say(connection, sql));
      return (writes) => commitOneByOne(connection, writes, { fence, deadline });
    }
    const ask = connection.query.bind(connection);
    const fence = await this.#fence.before(deadline, connection, (sql) => inTime(ask(sql), deadline));
    begun(prepared(connection, deadline));
    return (writes) => commitTogether(connection, writes, { fence, deadline });
  }

  /** Stops the reuse of open connections if the error puts them in doubt. */
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
      const commitBy = await this.#begin(connection, deadline);
      let result: T;
      try {
        let committed: Promise<void> | undefined;
        const commit: Transaction["commit"] = (writes) => {
          if (committed) throw new Error("the transaction was already committed");
          return (committed = commitBy(writes));
        };
        result = await work(Object.assign(drizzle({ client: connection }), { commit }));
        await (committed ?? commit([]));
      } catch (error) {
        // A server that does not answer would not answer this either; closing the connection rolls back too.
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

function lengthOf(list: unknown): number | undefined {
  const length: unknown = typeof list === "object" && list !== null ? Reflect.get(list, "length") : undefined;
  return typeof length === "number" ? length : undefined;
}

function isGone(error: unknown): boolean {
  const failure = withoutValues(error);
  return failure instanceof DatabaseError && failure.endsConnection;
}

function isTimeout(failure: unknown): boolean {
  return failure instanceof DatabaseError && failure.code === TIMEOUT;
}

function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

type Query = (statement: string | { readonly sql: string }, values?: unknown) => Promise<[unknown, unknown]>;

/** The same connection, whose statements time out at the deadline. After a timeout it must not be reused. */
function prepared(connection: PoolConnection, deadline: number): PoolConnection {
  return withQuery(
    connection,
    (query) =>
      (...statement) =>
        inTime(query(...statement), deadline),
  );
}

/** The same connection, which sends START TRANSACTION with the first statement, in one round trip. */
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

/** The driver's results of several statements without the first one's. */
function withoutFirst([results, fields]: [unknown, unknown]): [unknown, unknown] {
  return [rest(results), rest(fields)];
}

/** A single result is unwrapped, as for a single statement. */
function rest(answers: unknown): unknown {
  if (!Array.isArray(answers)) return answers;
  return answers.length === 2 ? answers[1] : answers.slice(1);
}

/** @param deadline in the time of `performance.now()`. @throws {DatabaseError} on timeout. */
function inTime<T>(pending: Promise<T>, deadline: number): Promise<T> {
  return settleWithin(deadline - performance.now(), pending, () => {
    throw new DatabaseError(TIMEOUT, undefined);
  });
}
