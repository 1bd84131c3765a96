import type { MySql2Database } from "drizzle-orm/mysql2";
import type { PoolConnection } from "mysql2/promise";

/** What queries are written against: one connection, alone or within a transaction. */
export type Queries = MySql2Database & { readonly $client: PoolConnection };

/**
 * What reads are written against. Nothing that writes: a bare statement that this process gives up may still be done by
 * the server, minutes later. A transaction can't be.
 */
export type Reads = Omit<Queries, "insert" | "update" | "delete" | "transaction">;

/** SQL with `?` for values. */
export interface Statement {
  readonly sql: string;
  readonly values: readonly unknown[];
}

/** A statement that a transaction ends with. */
export interface Write extends Statement {
  /** How many rows it must affect for the transaction to be committed. */
  readonly mustAffect?: number;
}

/** A statement of the query builder that was not sent. */
export interface Builder {
  readonly toSQL: () => { readonly sql: string; readonly params: readonly unknown[] };
}

/** The queries of a transaction. */
export type Transaction = Queries & {
  /**
   * Sends the transaction's last writes and COMMIT in one round trip. Nothing may follow it. A transaction that does not
   * call it is committed when its work returns.
   *
   * @param writes in the order in which they are done; their answers are not told.
   * @throws {UnexpectedCountError} when one of them affected more or fewer rows than it must: nothing was committed then.
   */
  readonly commit: (writes: readonly (Write | Builder)[]) => Promise<void>;
};
