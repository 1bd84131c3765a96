import { asc, eq } from "drizzle-orm";
import type { StageRecord } from "../src/order/order.ts";
import { bulkInsert, bulkSelect } from "./bulk.ts";
import type { Database, Queries } from "./database.ts";
import { orderEvents } from "./schema.ts";

export interface OrderEvent {
  readonly id: number;
  /** Null for the order's creation. */
  readonly from: string | null;
  readonly to: string;
  readonly stage: string | null;
  readonly reason: string | null;
  /** The stage's record; for CANCELLED, what undoing gave. */
  readonly record: StageRecord | null;
  readonly at: Date;
}

export type NewOrderEvent = Omit<OrderEvent, "id"> & { readonly orderId: string };

const insertEvents = bulkInsert(orderEvents, [
  "orderId",
  "fromStatus",
  "toStatus",
  "stage",
  "reason",
  "record",
  "at",
]);
const selectRecords = bulkSelect(
  orderEvents,
  ["orderId", "stage", "record"],
  "WHERE order_id IN (?) AND stage IS NOT NULL ORDER BY id",
);

/** Appends, inside the transaction that makes the transitions. */
export async function appendEvents(queries: Queries, events: readonly NewOrderEvent[]): Promise<void> {
  await insertEvents(
    queries,
    events.map(({ from, to, ...event }) => ({ ...event, fromStatus: from, toStatus: to })),
  );
}

/** All transitions of an order, oldest first. @throws {DatabaseError} */
export async function listEvents(database: Database, orderId: string): Promise<OrderEvent[]> {
  const rows = await database.query((queries) =>
    queries.select().from(orderEvents).where(eq(orderEvents.orderId, orderId)).orderBy(asc(orderEvents.id)),
  );
  return rows.map(({ fromStatus, toStatus, id, stage, reason, record, at }) => ({
    id,
    from: fromStatus,
    to: toStatus,
    stage,
    reason,
    record,
    at,
  }));
}

/** What the finished stages of each order left behind, by order id and stage name. */
export async function findRecords(
  queries: Queries,
  orderIds: readonly string[],
): Promise<Map<string, Record<string, StageRecord>>> {
  const rows = await selectRecords(queries, [orderIds]);
  const records = new Map<string, Record<string, StageRecord>>();
  for (const { orderId, stage, record } of rows) {
    if (stage === null || record === null) continue;
    const known = records.get(orderId) ?? {};
    known[stage] = record;
    records.set(orderId, known);
  }
  return records;
}
