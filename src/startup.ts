import type { Database } from "../db/database.ts";
import { DatabaseError } from "../db/errors.ts";
import { countPendingMigrations } from "../db/migrate.ts";
import { listStatuses } from "../db/orders.ts";
import type { Lifecycle } from "./order/lifecycle.ts";
import { describe } from "./shutdown.ts";

/** The process must not start, for a reason that the operator can do something about. */
export class StartupError extends Error {
  override name = "StartupError";
}

/** The command line does not make sense. */
export class UsageError extends Error {
  override name = "UsageError";
}

/**
 * Refuses a database that does not fit this version: one that was not migrated, or whose orders have a status that no
 * stage of the pipeline knows. @throws {StartupError} @throws {DatabaseError}
 */
export async function checkDatabase(database: Database, lifecycle: Lifecycle): Promise<void> {
  const pending = await countPendingMigrations(database);
  if (pending > 0)
    throw new StartupError(`the database lacks ${pending} migrations: run "npm run migrate" first`);
  const unknown = lifecycle.unknown(await listStatuses(database));
  if (unknown.length > 0) {
    throw new StartupError(
      `there are orders with a status that no stage of the pipeline leads to: ${unknown.join(", ")}; ` +
        `put the stage back, or move the orders on, first`,
    );
  }
}

/**
 * Runs a process's main function; when it fails, says why and exits with 1. Errors that are meant for the operator are
 * told without a stack.
 */
export function runMain(main: () => Promise<void>): void {
  main().catch((error: unknown) => {
    const about = error instanceof DatabaseError ? "the database of DATABASE_URL cannot be used: " : "";
    const told = error instanceof Error && FOR_OPERATORS.has(error.name);
    process.stderr.write(
      `${about}${told ? error.message : error instanceof Error ? error.stack : describe(error)}\n`,
    );
    process.exit(1);
  });
}

const FOR_OPERATORS = new Set([
  "ConfigError",
  "StartupError",
  "UsageError",
  "DatabaseError",
  "InvalidPipelineError",
  "ForeignRedisError",
  "RedisDatabaseError",
]);
