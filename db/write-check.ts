import { sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { isDatabaseAway } from "./errors.ts";

/** Milliseconds for which an answer stands. */
const FRESH_MS = 1_000;
/** Milliseconds within which the server must answer. */
const TIMEOUT_MS = 1_000;

/**
 * Finds out whether the database takes writes, by writing: a server that answers `SELECT 1` may be read-only, full, or
 * outside of its cluster.
 *
 * @returns the server's version. @throws {DatabaseError} when it takes none, or has not answered within a second.
 */
export async function checkWrites(database: Database): Promise<string> {
  try {
    return await write(database);
  } catch (error) {
    // It was a connection from before a failover, perhaps; there is none of them left now.
    if (isDatabaseAway(error) && error.isReadOnly) return write(database);
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

function write(database: Database): Promise<string> {
  return database.query(
    async (queries) => {
      await queries.execute(sql`UPDATE installation SET written_at = UTC_TIMESTAMP(3) WHERE single = 1`);
      const [rows] = await queries.execute(sql`SELECT VERSION() AS version`);
      return Array.isArray(rows) && rows[0] && "version" in rows[0] ? String(rows[0]["version"]) : "unknown";
    },
    { timeoutMs: TIMEOUT_MS },
  );
}
