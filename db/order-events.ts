import { asc, eq } from "drizzle-orm";
import type { StageRecord } from "../src/order/order.ts";
import { insertInto, selectFrom, type Selection } from "./bulk.ts";
import type { Database, Transaction } from "./database.ts";
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

const insertEvents = insertInto(orderEvents, [
  "orderId",
  "fromStatus",
  "toStatus",
  "stage",
  "reason",
  "record",
  "at",
]);
const selectRecords = selectFrom(
  orderEvents,
  ["orderId", "stage", "record"],
  "WHERE order_id IN (?) AND stage IS NOT NULL ORDER BY id",
);

/** Appends, with the transaction that makes the transitions. */
export function appendEvents(transaction: Transaction, events: readonly NewOrderEvent[]): void {
  if (events.length === 0) return;
  const rows = events.map(({ from, to, ...event }) => ({ ...event, fromStatus: from, toStatus: to }));
  transaction.atCommit(insertEvents(rows));
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

type RecordRow = Pick<typeof orderEvents.$inferSelect, "orderId" | "stage" | "record">;

/** What the finished stages of these orders left behind: for {@link recordsByOrder}. */
export function recordsOf(orderIds: readonly string[]): Selection<RecordRow> {
  return selectRecords(orderIds);
}

/** By order id and stage name. */
export function recordsByOrder(rows: readonly RecordRow[]): Map<string, Record<string, StageRecord>> {
  const records = new Map<string, Record<string, StageRecord>>();
  for (const { orderId, stage, record } of rows) {
    if (stage === null || record === null) continue;
    const known = records.get(orderId) ?? {};
    known[stage] = record;
    records.set(orderId, known);
  }
  return records;
}
