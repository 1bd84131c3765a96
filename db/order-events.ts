import { asc, eq, getTableColumns, inArray } from "drizzle-orm";
import type { FailedAttempt } from "../src/engine/ports.ts";
import type { EventType } from "../src/order/event.ts";
import type { StageRecord } from "../src/order/order.ts";
import { insertInto, read, selectFrom, type Selection } from "./statements.ts";
import type { Database } from "./database.ts";
import type { Statement } from "./queries.ts";
import { shortened } from "./reason.ts";
import { orderEvents, orders } from "./schema.ts";

type EventRow = Readonly<typeof orderEvents.$inferSelect>;

/** An event of an order. `from` is null for its creation, and equals `to` if the status did not change. */
export interface OrderEvent extends Omit<EventRow, "orderId" | "fromStatus" | "toStatus"> {
  readonly from: string | null;
  readonly to: string;
}

type Optional = "type" | "actor" | "attempt" | "startedAt";

/** A transition, unless it has a type. */
export type NewOrderEvent = Omit<OrderEvent, "id" | Optional> & {
  readonly orderId: string;
} & { readonly [Field in Optional]?: OrderEvent[Field] | undefined };

const insertRows = insertInto(orderEvents, [
  "orderId",
  "type",
  "fromStatus",
  "toStatus",
  "stage",
  "reason",
  "record",
  "at",
  "actor",
  "attempt",
  "startedAt",
]);
const selectRecords = selectFrom(
  orderEvents,
  ["orderId", "stage", "record"],
  "WHERE order_id IN (?) AND type = 'status' AND stage IS NOT NULL ORDER BY id",
);

const selectTraceparents = selectFrom(
  orderEvents,
  ["orderId", "record"],
  "WHERE order_id IN (?) AND from_status IS NULL",
);

/** The INSERT of events, to commit with the changes they describe. */
export function insertEvents(events: readonly NewOrderEvent[]): Statement[] {
  if (events.length === 0) return [];
  const rows = events.map((event) => ({
    orderId: event.orderId,
    type: event.type ?? "status",
    fromStatus: event.from,
    toStatus: event.to,
    stage: event.stage,
    reason: event.reason,
    record: event.record,
    at: event.at,
    actor: event.actor,
    attempt: event.attempt,
    startedAt: event.startedAt,
  }));
  return [insertRows(rows)];
}

/** The INSERT of events that leave the order's status unchanged. */
export function insertUnmoved(
  type: Exclude<EventType, "status">,
  events: readonly (Omit<NewOrderEvent, "type" | "from" | "to" | "record"> & { readonly status: string })[],
): Statement[] {
  return insertEvents(
    events.map(({ status, ...event }) => ({ ...event, type, from: status, to: status, record: null })),
  );
}

/** Records failed attempts, with each order's current status. @throws {DatabaseError} */
export async function appendFailedAttempts(
  database: Database,
  failures: readonly FailedAttempt[],
): Promise<void> {
  const ids = [...new Set(failures.map(({ orderId }) => orderId))];
  await database.transaction(async (queries) => {
    const rows = await queries
      .select({ id: orders.id, status: orders.status })
      .from(orders)
      .where(inArray(orders.id, ids));
    const statuses = new Map(rows.map(({ id, status }) => [id, status]));
    const events = failures.flatMap(({ reason, ...failure }) => {
      const status = statuses.get(failure.orderId);
      return status === undefined ? [] : [{ ...failure, status, reason: shortened(reason) }];
    });
    await queries.commit(insertUnmoved("attempt-failed", events));
  });
}

/** All events of an order, oldest first. @throws {DatabaseError} */
export async function listEvents(database: Database, orderId: string): Promise<OrderEvent[]> {
  const { orderId: order, fromStatus: from, toStatus: to, ...others } = getTableColumns(orderEvents);
  return database.query((queries) =>
    queries
      .select({ ...others, from, to })
      .from(orderEvents)
      .where(eq(order, orderId))
      .orderBy(asc(orderEvents.id)),
  );
}

/** @throws {DatabaseError} */
export async function orderExists(database: Database, orderId: string): Promise<boolean> {
  const [row] = await database.query((queries) =>
    queries.select({ id: orders.id }).from(orders).where(eq(orders.id, orderId)),
  );
  return row !== undefined;
}

/** The trace contexts of these orders' creation, by order, where there is one. @throws {DatabaseError} */
export async function findTraceparents(
  database: Database,
  orderIds: readonly string[],
): Promise<Map<string, string>> {
  const rows = await database.query((queries) => read(queries, selectTraceparents(orderIds)));
  return new Map(
    rows.flatMap(({ orderId, record }) =>
      typeof record?.["traceparent"] === "string" ? [[orderId, record["traceparent"]]] : [],
    ),
  );
}

/** The record of one stage. */
export type RecordRow = Pick<EventRow, "orderId" | "stage" | "record">;

/** The records of these orders' finished stages, for {@link recordsByOrder}. */
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
