import type { NewAction, QueueSettings, StoredSettings } from "../src/engine/ports.ts";
import type { Database } from "./database.ts";
import { insertAction } from "./operator-actions.ts";
import { queueSettings } from "./schema.ts";
import { timestamp } from "../src/platform/clock.ts";

/** The queues whose settings were ever changed; all others have the defaults. @throws {DatabaseError} */
export async function listQueueSettings(database: Database): Promise<StoredSettings[]> {
  const rows = await database.query((queries) => queries.select().from(queueSettings));
  return rows.map(({ step, pausedAt, concurrency, rateMax, rateDurationMs, updatedAt }) => ({
    step,
    paused: pausedAt !== null,
    concurrency,
    rateLimit:
      rateMax === null || rateDurationMs === null ? null : { max: rateMax, durationMs: rateDurationMs },
    updatedAt,
  }));
}

/** Changes some of a queue's settings, and records the action. @throws {DatabaseError} */
export async function changeQueueSettings(
  database: Database,
  step: string,
  change: Partial<QueueSettings>,
  action: NewAction,
): Promise<void> {
  const { paused, concurrency, rateLimit } = change;
  const now = timestamp();
  const columns = {
    ...(paused === undefined ? {} : { pausedAt: paused ? now : null }),
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(rateLimit === undefined
      ? {}
      : { rateMax: rateLimit?.max ?? null, rateDurationMs: rateLimit?.durationMs ?? null }),
    updatedAt: now,
  };
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .insert(queueSettings)
        .values({ step, ...columns })
        .onDuplicateKeyUpdate({ set: columns }),
      insertAction(action),
    ]),
  );
}
