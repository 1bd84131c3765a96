import { isDatabaseAway } from "../src/platform/storage-error.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import type { Reads } from "./queries.ts";

/** Milliseconds for an answer: there is another server to ask. */
const TIMEOUT_MS = 3_000;
/** Milliseconds for which the other server is not asked again once it was away. */
const LEFT_ALONE_MS = 5_000;

/**
 * Reads that may be somewhat old, from a server that follows the one that takes the writes: lists, pages and counts for
 * people, and nothing that decides. While it is away, or lacks a table that was just made, the other one answers.
 */
export class ReadDatabase extends Database {
  readonly #primary: Database;
  #awayUntil = -Infinity;

  constructor(options: Omit<DatabaseOptions, "mayLag" | "timeoutMs">, primary: Database) {
    super({ ...options, timeoutMs: TIMEOUT_MS, mayLag: true });
    this.#primary = primary;
  }

  override async query<T>(
    work: (queries: Reads) => Promise<T>,
    options?: { readonly timeoutMs?: number },
  ): Promise<T> {
    if (performance.now() < this.#awayUntil) return this.#primary.query(work, options);
    try {
      return await super.query(work, options);
    } catch (error) {
      if (!isDatabaseAway(error)) throw error;
      this.#awayUntil = performance.now() + LEFT_ALONE_MS;
      return this.#primary.query(work, options);
    }
  }

  /** @throws {Error} always: what may be old must not decide what is written. */
  override transaction(): Promise<never> {
    return Promise.reject(new Error("a database for reads takes no transactions"));
  }
}
