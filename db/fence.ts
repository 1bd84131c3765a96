import type { Statement } from "./queries.ts";
import { DatabaseError, withoutValues } from "./errors.ts";

/** Milliseconds for which a look at the server's clock counts: so long it may be wrong after it was set back. */
const CLOCK_COUNTS_FOR_MS = 10_000;
/** Milliseconds, at most, that COMMIT and its answer are given after the last moment at which it may begin. */
const MARGIN_MS = 100;
/** ER_UNKNOWN_LOCALE: nothing but {@link CHECK} can lead to it. */
const UNKNOWN_LOCALE = 1649;

/** SYSDATE rather than NOW: that is when the statement, or all of a packet's statements, began. */
const CLOCK = "UNIX_TIMESTAMP(SYSDATE(6))";
const ASK = `SELECT ${CLOCK} AS seconds`;
/**
 * Ends a row of statements, and the transaction with it, when the server's clock is past a time. SQL has no conditions
 * outside of procedures, and no SIGNAL that depends on one; but a locale that does not exist is an error that nothing else
 * gives, in MySQL and in MariaDB, and setting the one that is set costs some microseconds.
 */
const CHECK = `SET lc_time_names = IF(${CLOCK} > ?, 'too late to commit', @@lc_time_names)`;

interface ServerClock {
  /** Milliseconds from this process's clock (`performance.now()`) to the server's, which counts from 1970. Never too many. */
  readonly aheadMs: number;
  /** By this process's clock. */
  readonly askedAt: number;
}

/**
 * Keeps the server from committing what this process has given up. A server that stands still has whole transactions in its
 * sockets' buffers, and carries them out when it wakes: whoever was told that nothing had come of them has asked again by
 * then. So with COMMIT goes a check against the server's own clock.
 *
 * This process's clock and the server's are brought together by asking a connection for the time. It was that time at the
 * latest when the answer came: so the check is never too late, and too early by no more than the answer's way. One server
 * may stand behind a connection and another one behind the next.
 */
export class Fence {
  readonly #marginMs: number;
  readonly #clocks = new WeakMap<object, ServerClock>();
  #trustedSince = -Infinity;

  /** @param timeoutMs how long transactions may take. */
  constructor(timeoutMs: number) {
    this.#marginMs = Math.min(MARGIN_MS, timeoutMs / 10);
  }

  /**
   * The statement to put before COMMIT. Costs a round trip for a connection that is new, or was not asked for some seconds.
   *
   * @param deadline by `performance.now()`: when COMMIT will be given up. @param ask asks the connection something.
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

  /** Has every connection asked for the time again. */
  distrustClocks(): void {
    this.#trustedSince = performance.now();
  }

  async #look(connection: object, ask: (sql: string) => Promise<[unknown, unknown]>): Promise<ServerClock> {
    const askedAt = performance.now();
    const [rows] = await ask(ASK);
    const clock = { askedAt, aheadMs: 1_000 * secondsIn(rows) - performance.now() };
    this.#clocks.set(connection, clock);
    return clock;
  }
}

/** Whether the check has ended a transaction. */
export function isLate(error: unknown): boolean {
  const failure = withoutValues(error);
  return failure instanceof DatabaseError && failure.errno === UNKNOWN_LOCALE;
}

function secondsIn(rows: unknown): number {
  const row: unknown = Array.isArray(rows) ? rows[0] : undefined;
  const seconds = typeof row === "object" && row !== null && "seconds" in row ? Number(row.seconds) : NaN;
  if (Number.isNaN(seconds)) throw new Error("the server has no time");
  return seconds;
}
