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

/** A statement of the query builder that was not sent. */
export interface Builder {
  readonly toSQL: () => { readonly sql: string; readonly params: readonly unknown[] };
}

/** The queries of a transaction. */
export type Transaction = Queries & {
  /**
   * Has a statement sent together with COMMIT, in one round trip: for what the transaction writes last, and whose answer
   * it does not need. In the order in which they are given.
   *
   * @param affected rows that it must affect; otherwise nothing is committed, nothing that follows it is done, and the
   * transaction throws an `UnexpectedCountError`.
   */
  readonly atCommit: (statement: Statement | Builder, affected?: number) => void;
};
