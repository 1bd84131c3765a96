import type { Database } from "../../db/database.ts";
import { countPendingMigrations } from "../../db/migrate.ts";
import { listStatuses } from "../../db/order-states.ts";
import { readPipeline } from "../../db/pipelines.ts";
import type { Lifecycle } from "../order/lifecycle.ts";
import { StartupError } from "../platform/startup.ts";

/**
 * Refuses a database with pending migrations, or with orders in a status that neither the pipeline nor the one in force knows.
 *
 * @throws {StartupError} {DatabaseError}
 */
export async function checkDatabase(database: Database, lifecycle: Lifecycle): Promise<void> {
  const pending = await countPendingMigrations(database);
  if (pending > 0)
    throw new StartupError(`the database lacks ${pending} migrations: run "npm run migrate" first`);
  const inForce = await readPipeline(database, lifecycle.outline);
  // Their orders are left to workers that have them, unless this pipeline takes over.
  const others = inForce && !inForce.isSuperseded ? inForce.stages.map(({ to }) => to) : [];
  const unknown = lifecycle
    .unknown(await listStatuses(database))
    .filter((status) => !others.includes(status));
  if (unknown.length > 0) {
    throw new StartupError(
      `there are orders with a status that no stage of the pipeline leads to: ${unknown.join(", ")}; ` +
        `put the stage back, or move the orders on, first`,
    );
  }
}
