import { sql } from "drizzle-orm";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { migrate } from "drizzle-orm/mysql2/migrator";
import { bigint, mysqlTable } from "drizzle-orm/mysql-core";
import type { PoolConnection, RowDataPacket } from "mysql2/promise";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Database, type DatabaseOptions } from "./database.ts";
import type { Queries } from "./queries.ts";
import { DatabaseError } from "./errors.ts";
import { StartupError } from "../src/platform/startup.ts";

const migrationsFolder = join(import.meta.dirname, "migrations");
const migrationsTable = "__drizzle_migrations";
const applied = mysqlTable(migrationsTable, { createdAt: bigint("created_at", { mode: "number" }) });
const NO_SUCH_TABLE = 1146;
/** Seconds to wait for another process that is migrating, or that uses a table. */
const LOCK_TIMEOUT_S = 120;
const LOCK_WAIT_TIMEOUT = 1205;
const END_IT = "end the backup or other long transaction, and run it again";
/** Between two tries to alter a table that others use. Milliseconds. */
const PAUSE_MS = 2_000;

export interface MigrationListener {
  /** Called each time that a table can't be altered since others use it, with the seconds waited so far. */
  readonly onBusy?: (seconds: number) => void;
}

/**
 * Migrates the database to this version's schema. Processes may call it concurrently: the migrator takes no
 * lock, so one is held around it, on the same connection. Each file makes one change and can be repeated, since MySQL
 * can't roll back DDL; after an interrupted run, run it again.
 *
 * @returns how many migrations were applied. @throws {DatabaseError}, or {StartupError} if others use a table
 * for longer than this waits.
 */
export async function migrateDatabase(
  options: DatabaseOptions,
  { onBusy = () => undefined }: MigrationListener = {},
): Promise<number> {
  const database = new Database({ ...options, poolSize: 1 });
  try {
    return await database.withConnection(async (connection, queries) => {
      await lock(connection);
      const before = await countApplied(queries);
      // A table that others are reading can't be altered, and whoever comes next waits too: not for longer than this.
      await connection.query("SET SESSION lock_wait_timeout = 1");
      await patiently(() => migrate(queries, { migrationsFolder, migrationsTable }), onBusy);
      return (await countApplied(queries)) - before;
    });
  } finally {
    await database.close();
  }
}

/** Tries again while somebody else uses a table: a backup may read it for minutes. */
async function patiently(work: () => Promise<void>, onBusy: (seconds: number) => void): Promise<void> {
  for (const since = performance.now(); ; await delay(PAUSE_MS)) {
    try {
      return await work();
    } catch (error) {
      if (!isLockTimeout(error)) throw error;
      const seconds = Math.round((performance.now() - since) / 1_000);
      if (seconds >= LOCK_TIMEOUT_S)
        throw new StartupError(
          `a table that the migration changes has been in use for ${seconds} s: ${END_IT}`,
        );
      onBusy(seconds);
    }
  }
}

/** Drizzle wraps the driver's errors. */
function isLockTimeout(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return ("errno" in error && error.errno === LOCK_WAIT_TIMEOUT) || isLockTimeout(error.cause);
}

/** The number of this version's migrations that were not applied. @throws {DatabaseError} */
export async function countPendingMigrations(database: Database): Promise<number> {
  const migrations = readMigrationFiles({ migrationsFolder });
  try {
    const [newest] = await database.query((queries) =>
      queries.select({ at: sql<string | null>`MAX(${applied.createdAt})` }).from(applied),
    );
    return migrations.filter((migration) => migration.folderMillis > Number(newest?.at ?? 0)).length;
  } catch (error) {
    if (error instanceof DatabaseError && error.errno === NO_SUCH_TABLE) return migrations.length;
    throw error;
  }
}

/**
 * Locks are server-wide, so the name identifies the database. GET_LOCK allows 64 characters, as many as a
 * database's name may have, so this is a hash, by a function that every server has: MySQL 9 has no MD5() and
 * SHA1().
 */
const LOCK_NAME = "LEFT(CONCAT('conveyor:', SHA2(DATABASE(), 256)), 64)";

/** Held until the connection closes. */
async function lock(connection: PoolConnection): Promise<void> {
  const [rows] = await connection.query<(RowDataPacket & { locked: number | null })[]>(
    `SELECT GET_LOCK(${LOCK_NAME}, ?) AS locked`,
    [LOCK_TIMEOUT_S],
  );
  if (rows[0]?.locked !== 1) throw new Error(`another process has been migrating for ${LOCK_TIMEOUT_S} s`);
}

async function countApplied(queries: Queries): Promise<number> {
  try {
    return await queries.$count(applied);
  } catch {
    // The first migration creates the table.
    return 0;
  }
}
