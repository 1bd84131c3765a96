import { asc, count, eq, gt } from "drizzle-orm";
import type { BoundedCount } from "../src/engine/ports.ts";
import type { Database } from "./database.ts";
import type { Reads } from "./queries.ts";
import { orders } from "./schema.ts";

/* Orders that are marked with a stage, because they have failed in it or wait in it. Each mark has an index. */

export interface Mark {
  readonly index: string;
  readonly stage: typeof orders.failedStage | typeof orders.waitingStage;
}

/** Orders in a stage's failed set. */
export const FAILED: Mark = { index: "orders_by_failure", stage: orders.failedStage };
/** Orders that wait for somebody else to act. */
export const WAITING: Mark = { index: "orders_by_wait", stage: orders.waitingStage };

/** The stages with marked orders, by one index lookup for each. */
export async function stagesWith(queries: Reads, { index, stage: column }: Mark): Promise<string[]> {
  const stages: string[] = [];
  for (;;) {
    const [next] = await queries
      .select({ stage: column })
      .from(orders, { forceIndex: index })
      .where(gt(column, stages.at(-1) ?? ""))
      .orderBy(asc(column), asc(orders.id))
      .limit(1);
    if (next === undefined || next.stage === null) return stages;
    stages.push(next.stage);
  }
}

/** The number of a stage's marked orders. Reads only the index. */
export async function countIn(
  queries: Reads,
  { index, stage: column }: Mark,
  stage: string,
  limit: number,
): Promise<BoundedCount> {
  const marked = queries
    .select({ id: orders.id })
    .from(orders, { forceIndex: index })
    .where(eq(column, stage))
    .limit(limit + 1)
    .as("marked");
  const [counted] = await queries.select({ all: count() }).from(marked);
  const all = counted?.all ?? 0;
  return { count: Math.min(all, limit), more: all > limit };
}

/** The number of marked orders of each stage that has some. @throws {DatabaseError} */
export async function countByStage(
  database: Database,
  mark: Mark,
  limit: number,
): Promise<Map<string, BoundedCount>> {
  return database.query(async (queries) => {
    const counts = new Map<string, BoundedCount>();
    for (const stage of await stagesWith(queries, mark))
      counts.set(stage, await countIn(queries, mark, stage, limit));
    return counts;
  });
}
