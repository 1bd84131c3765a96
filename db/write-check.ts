import { sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { DatabaseError, withoutValues } from "./errors.ts";
import { failureKindOf } from "../src/platform/storage-error.ts";

/** Timeout in milliseconds; longer than any lock wait. */
const TIMEOUT_MS = 2_000;

/**
 * Checks that the database takes writes, by writing: a server that answers `SELECT 1` may be read-only, full,
 * or out of its cluster. If the row is locked, the server takes writes.
 *
 * @returns the server's version. @throws {DatabaseError} if it takes none, or does not answer within two
 * seconds.
 */
export async function checkWrites(database: Database): Promise<string> {
  try {
    return await write(database);
  } catch (error) {
    // The connection may be from before a failover; none of those are left now.
    if (error instanceof DatabaseError && error.isReadOnly) return write(database);
    throw error;
  }
}

async function write(database: Database): Promise<string> {
  return database.query(
    async (queries) => {
      const free = rowsOf(await queries.execute(sql`SELECT single FROM installation FOR UPDATE SKIP LOCKED`));
      // A read-only server also refuses an UPDATE that matches no row, which never waits for a lock.
      const single = free.length > 0 ? 1 : 0;
      try {
        await queries.execute(
          sql`UPDATE installation SET written_at = UTC_TIMESTAMP(3) WHERE single = ${single}`,
        );
      } catch (error) {
        // It has been locked since.
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
