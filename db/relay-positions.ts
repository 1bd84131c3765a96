import { asc, eq, gt, max, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { orderEvents, relayPositions } from "./schema.ts";
import { nowMs, timestamp } from "../src/platform/clock.ts";

/** The readers of the event log: the relay to the Redis Stream, and the one that creates webhook deliveries. */
export type RelayName = "stream" | "webhooks";
/** Who reads a log up to a position: ours by an event's id, or a payment provider's by what it counts with. */
export type ReaderName = RelayName | `payments:${string}`;

/** The position, such as the last relayed event; undefined if there is none yet. @throws {DatabaseError} */
export async function findPosition(database: Database, name: ReaderName): Promise<number | undefined> {
  const [row] = await database.query((queries) =>
    queries.select().from(relayPositions).where(eq(relayPositions.name, name)),
  );
  return row?.eventId;
}

/**
 * Records the position. It never moves back, so that a late process does no harm, unless the log was reset.
 * @throws {DatabaseError}
 */
export async function savePosition(
  database: Database,
  name: ReaderName,
  eventId: number,
  { backwards = false }: { readonly backwards?: boolean } = {},
): Promise<void> {
  const updatedAt = timestamp();
  const further = sql`GREATEST(${relayPositions.eventId}, ${eventId})`;
  await database.transaction(async (queries) =>
    queries.commit([
      queries
        .insert(relayPositions)
        .values({ name, eventId, updatedAt })
        .onDuplicateKeyUpdate({ set: { eventId: backwards ? eventId : further, updatedAt } }),
    ]),
  );
}

/** A relay's backlog. */
export interface RelayLag {
  /** An upper bound, since unused ids count too. */
  readonly events: number;
  /** The age of the oldest event in milliseconds; 0 if there is none. */
  readonly ageMs: number;
}

/**
 * A relay's backlog according to MySQL, readable by any process even if the relay is down. May include events
 * relayed in the last second. @throws {DatabaseError}
 */
export async function readRelayLag(database: Database, name: RelayName): Promise<RelayLag> {
  return database.query(async (queries) => {
    const [position] = await queries.select().from(relayPositions).where(eq(relayPositions.name, name));
    const after = position?.eventId ?? 0;
    const [oldest] = await queries
      .select({ at: orderEvents.at })
      .from(orderEvents)
      .where(gt(orderEvents.id, after))
      .orderBy(asc(orderEvents.id))
      .limit(1);
    if (oldest === undefined) return { events: 0, ageMs: 0 };
    const [newest] = await queries.select({ id: max(orderEvents.id) }).from(orderEvents);
    return {
      events: (newest?.id ?? 0) - after,
      ageMs: Math.max(0, nowMs() - oldest.at.getTime()),
    };
  });
}
