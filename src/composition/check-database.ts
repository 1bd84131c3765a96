import type { Database } from "../../db/database.ts";
import { countPendingMigrations } from "../../db/migrate.ts";
import { hasSeveralWriters } from "../../db/writers.ts";
import { listStatuses } from "../../db/order-states.ts";
import { lifecycle } from "../order/lifecycle.ts";
import { StartupError } from "../platform/startup.ts";
import { faultOfMoves, findPipeline, type RolloutConfig } from "./rollout.ts";

const SEVERAL_WRITERS =
  "DATABASE_URL leads to several servers that take writes, whose events have no common order: lead it to one at a time, " +
  "by a proxy with one writer, and use DATABASE_READ_URL for the others";

/**
 * Refuses several writers, a database with pending migrations, with orders in a status that neither the pipeline nor the one in force knows,
 * or with orders that would skip stages if this pipeline took over.
 *
 * @throws {StartupError} {DatabaseError}
 */
export async function checkDatabase(database: Database, config: RolloutConfig): Promise<void> {
  if (await hasSeveralWriters(database)) throw new StartupError(SEVERAL_WRITERS);
  const pending = await countPendingMigrations(database);
  if (pending > 0)
    throw new StartupError(`the database lacks ${pending} migrations: run "npm run migrate" first`);
  const inForce = await findPipeline(config, database);
  const fault = inForce?.isSuperseded && (await faultOfMoves(database, inForce.stages));
  if (fault) throw new StartupError(fault);
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
