import { asc, eq, inArray, isNotNull, and } from "drizzle-orm";
import type { StageRecord } from "../src/order/order.ts";
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

/** Appends, inside the transaction that makes the transitions. */
export async function appendEvents(queries: Queries, events: readonly NewOrderEvent[]): Promise<void> {
  if (events.length === 0) return;
  await queries
    .insert(orderEvents)
    .values(events.map(({ from, to, ...event }) => ({ ...event, fromStatus: from, toStatus: to })));
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
  const rows = await queries
    .select({ orderId: orderEvents.orderId, stage: orderEvents.stage, record: orderEvents.record })
    .from(orderEvents)
    .where(and(inArray(orderEvents.orderId, [...orderIds]), isNotNull(orderEvents.stage)))
    .orderBy(asc(orderEvents.id));
  const records = new Map<string, Record<string, StageRecord>>();
  for (const { orderId, stage, record } of rows) {
    if (stage === null || record === null) continue;
    const known = records.get(orderId) ?? {};
    known[stage] = record;
    records.set(orderId, known);
  }
  return records;
}
