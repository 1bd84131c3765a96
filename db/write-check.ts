import { sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { DatabaseError, withoutValues } from "./errors.ts";
import { failureKindOf } from "../src/platform/storage-error.ts";

/** Milliseconds for which an answer stands. */
const FRESH_MS = 1_000;
/** Milliseconds within which the server must answer: more than anybody waits for a lock. */
const TIMEOUT_MS = 2_000;

/**
 * Finds out whether the database takes writes, by writing: a server that answers `SELECT 1` may be read-only, full, or
 * outside of its cluster. One whose row somebody else has locked takes writes.
 *
 * @returns the server's version. @throws {DatabaseError} when it takes none, or has not answered within two seconds.
 */
export async function checkWrites(database: Database): Promise<string> {
  try {
    return await write(database);
  } catch (error) {
    // It was a connection from before a failover, perhaps; there is none of them left now.
    if (error instanceof DatabaseError && error.isReadOnly) return write(database);
    throw error;
  }
}

/** Shares {@link checkWrites} among those who ask at about the same moment: a write a second, however many ask. */
export class WriteCheck {
  readonly #database: Database;
  #last: { readonly answer: Promise<string>; readonly at: number } | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  /** What a check has given that is less than a second old. @throws {DatabaseError} as {@link checkWrites} does. */
  ask(): Promise<string> {
    const now = performance.now();
    if (this.#last === undefined || now - this.#last.at >= FRESH_MS) {
      this.#last = { answer: checkWrites(this.#database), at: now };
    }
    return this.#last.answer;
  }
}

async function write(database: Database): Promise<string> {
  return database.query(
    async (queries) => {
      const free = rowsOf(await queries.execute(sql`SELECT single FROM installation FOR UPDATE SKIP LOCKED`));
      // A server that takes no writes refuses one that finds no row as well, and that one waits for nobody.
      const single = free.length > 0 ? 1 : 0;
      try {
        await queries.execute(
          sql`UPDATE installation SET written_at = UTC_TIMESTAMP(3) WHERE single = ${single}`,
        );
      } catch (error) {
        // Somebody has locked it since.
        if (failureKindOf(withoutValues(error)) !== "contended") throw error;
      }
      const [row] = rowsOf(await queries.execute(sql`SELECT VERSION() AS version`));
      return row && "version" in row ? String(row.version) : "unknown";
    },
    { timeoutMs: TIMEOUT_MS },
  );
}

function rowsOf([rows]: readonly [unknown, ...unknown[]]): readonly object[] {
  return Array.isArray(rows) ? rows : [];
}
