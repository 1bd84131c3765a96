import type { MySql2Database } from "drizzle-orm/mysql2";
import type { PoolConnection } from "mysql2/promise";

/** One connection, with or without a transaction. */
export type Queries = MySql2Database & { readonly $client: PoolConnection };

/**
 * For reads only. If a single write timed out here, the server might still execute it minutes later; a
 * transaction's writes can't be committed late.
 */
export type Reads = Omit<Queries, "insert" | "update" | "delete" | "transaction">;

/** SQL with `?` placeholders. */
export interface Statement {
  readonly sql: string;
  readonly values: readonly unknown[];
}

/** A statement to send together with COMMIT. */
export interface Write extends Statement {
  /** The number of rows it must affect; otherwise the transaction is rolled back. */
  readonly mustAffect?: number;
}

/** A statement of the query builder, not sent yet. */
export interface Builder {
  readonly toSQL: () => { readonly sql: string; readonly params: readonly unknown[] };
}

/** The queries of a transaction. */
export type Transaction = Queries & {
  /**
   * Sends the transaction's last writes and COMMIT in one round trip. Must be the last call. Without it, the
   * transaction is committed when its work returns.
   *
   * @param writes in order of execution; their results are dropped.
   * @throws {UnexpectedCountError} if one affected an unexpected number of rows; nothing was committed.
   */
  readonly commit: (writes: readonly (Write | Builder)[]) => Promise<void>;
};
