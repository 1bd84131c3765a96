import { asc, eq, gt, max, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { orderEvents, relayPositions } from "./schema.ts";

/** Who passes events on: the relay to the Redis Stream, and what makes deliveries to webhooks of them. */
export type RelayName = "stream" | "webhooks";

/** Up to which event all have been passed on; undefined if none ever was. @throws {DatabaseError} */
export async function findPosition(database: Database, name: RelayName): Promise<number | undefined> {
  const [row] = await database.query((queries) =>
    queries.select().from(relayPositions).where(eq(relayPositions.name, name)),
  );
  return row?.eventId;
}

/**
 * Notes how far events have been passed on. Never backwards, so that a process that comes late does no harm, unless the
 * log itself has begun anew. @throws {DatabaseError}
 */
export async function savePosition(
  database: Database,
  name: RelayName,
  eventId: number,
  { backwards = false }: { readonly backwards?: boolean } = {},
): Promise<void> {
  const updatedAt = new Date();
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

/** What has not been passed on yet. */
export interface RelayLag {
  /** At most; ids that were given up count too. */
  readonly events: number;
  /** Milliseconds since the oldest of them happened; 0 where there is none. */
  readonly ageMs: number;
}

/**
 * How far a relay is behind, as MySQL knows it: any process may ask, whether the relay lives or not. What was passed on in
 * the last second may count as not. @throws {DatabaseError}
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
      ageMs: Math.max(0, Date.now() - oldest.at.getTime()),
    };
  });
}
