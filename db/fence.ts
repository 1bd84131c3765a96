import type { Statement } from "./queries.ts";
import { DatabaseError, withoutValues } from "./errors.ts";

/**
 * Milliseconds for which a reading of the server's clock is used. It may be wrong for so long after the clock
 * was set back.
 */
const CLOCK_COUNTS_FOR_MS = 10_000;
/** Maximum milliseconds reserved for COMMIT and its answer before the deadline. */
const MARGIN_MS = 100;
/** ER_UNKNOWN_LOCALE, which only {@link CHECK} can raise. */
const UNKNOWN_LOCALE = 1649;

/** SYSDATE, since NOW is when the statement, or the packet's first one, began. */
const CLOCK = "UNIX_TIMESTAMP(SYSDATE(6))";
/** Reads the server's clock; see {@link timeIn}. */
export const READ_CLOCK = `SELECT ${CLOCK} AS seconds`;
/**
 * Aborts the statements and the transaction if the server's clock is past a time. SQL has no conditions outside
 * procedures and no conditional SIGNAL. But an unknown locale raises an error that nothing else does, in MySQL
 * and MariaDB, and setting the current one takes microseconds.
 */
const CHECK = `SET lc_time_names = IF(${CLOCK} > ?, 'too late to commit', @@lc_time_names)`;

interface ServerClock {
  /**
   * The server's clock (since 1970) minus this process's (`performance.now()`), in milliseconds. Never too
   * high.
   */
  readonly aheadMs: number;
  /** By this process's clock. */
  readonly askedAt: number;
}

/**
 * Keeps the server from committing what has timed out here. A frozen server has whole transactions in its
 * socket buffers and runs them when it resumes, when callers may have retried already. So COMMIT is preceded by
 * a check against the server's clock.
 *
 * The clocks are compared by querying the server's time. When the answer arrives, the server's clock has at
 * least that time, so the check is never too late, and too early by at most the answer's transit time. Each
 * connection has its own reading, since each may lead to another server.
 */
export class Fence {
  readonly #marginMs: number;
  readonly #clocks = new WeakMap<object, ServerClock>();
  #trustedSince = -Infinity;

  /** @param timeoutMs the timeout of transactions. */
  constructor(timeoutMs: number) {
    this.#marginMs = Math.min(MARGIN_MS, timeoutMs / 10);
  }

  /**
   * The statement to run before COMMIT. Costs a round trip if the connection's reading is missing or old.
   *
   * @param deadline of COMMIT, in the time of `performance.now()`. @param ask runs a query on the connection.
   */
  async before(
    deadline: number,
    { connection }: { readonly connection: object },
    ask: (sql: string) => Promise<[unknown, unknown]>,
  ): Promise<Statement> {
    const known = this.#clocks.get(connection);
    const isKnown =
      known !== undefined &&
      known.askedAt >= Math.max(this.#trustedSince, performance.now() - CLOCK_COUNTS_FOR_MS);
    const { aheadMs } = isKnown ? known : await this.#look(connection, ask);
    return { sql: CHECK, values: [(deadline - this.#marginMs + aheadMs) / 1_000] };
  }

  /** Discards all readings. */
  distrustClocks(): void {
    this.#trustedSince = performance.now();
  }

  async #look(connection: object, ask: (sql: string) => Promise<[unknown, unknown]>): Promise<ServerClock> {
    const askedAt = performance.now();
    const [rows] = await ask(READ_CLOCK);
    const clock = { askedAt, aheadMs: timeIn(rows) - performance.now() };
    this.#clocks.set(connection, clock);
    return clock;
  }
}

/** Whether the check aborted the transaction. */
export function isLate(error: unknown): boolean {
  const failure = withoutValues(error);
  return failure instanceof DatabaseError && failure.errno === UNKNOWN_LOCALE;
}

/** The time in the answer to {@link READ_CLOCK}, in milliseconds since 1970. */
export function timeIn(rows: unknown): number {
  const row: unknown = Array.isArray(rows) ? rows[0] : undefined;
  const seconds = typeof row === "object" && row !== null && "seconds" in row ? Number(row.seconds) : NaN;
  if (Number.isNaN(seconds)) throw new Error("the server returned no time");
  return 1_000 * seconds;
}
