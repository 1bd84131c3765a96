import type { OrderLine, StoredOrder } from "../src/order/order.ts";
import { groupBy } from "../src/platform/group-by.ts";
import type { Database } from "./database.ts";
import { recordsByOrder, recordsOf, type RecordRow } from "./order-events.ts";
import { findPage, type OrderFilter } from "./order-list.ts";
import type { Reads } from "./queries.ts";
import { orderLines, orders } from "./schema.ts";
import { standingOf } from "./standing.ts";
import { read, readBoth, readThree, selectFrom } from "./statements.ts";

/* Reads orders in batches, so that concurrent callers can share a statement. */

/** The columns of an order that change. */
const HEAD_KEYS = [
  "id",
  "status",
  "failedStage",
  "failedReason",
  "failedAt",
  "cancelRequestedAt",
  "cancelReason",
  "updatedAt",
] as const;
/** The columns of a {@link StoredOrder}. */
const ORDER_KEYS = [
  ...HEAD_KEYS,
  "customerId",
  "reference",
  "currency",
  "total",
  "paymentToken",
  "shipTo",
  "createdAt",
] as const;

const selectOrders = selectFrom(orders, ORDER_KEYS, "WHERE id IN (?)");
const selectHeads = selectFrom(orders, HEAD_KEYS, "WHERE id IN (?)");
const selectLines = selectFrom(
  orderLines,
  ["orderId", "sku", "quantity", "unitPrice"],
  "WHERE order_id IN (?) ORDER BY order_id, position",
);

/** Implements `OrderStore.findOrders`. @throws {DatabaseError} */
export async function findOrders(
  database: Database,
  ids: readonly string[],
  known: (id: string) => StoredOrder | undefined = () => undefined,
): Promise<(StoredOrder | undefined)[]> {
  return database.query(async (queries) => {
    const found = await refreshed(
      queries,
      ids.flatMap((id) => known(id) ?? []),
    );
    const others = ids.filter((id) => !found.has(id));
    if (others.length > 0) {
      const rows = await readThree(queries, selectOrders(others), selectLines(others), recordsOf(others));
      for (const order of assembled(...rows)) found.set(order.id, order);
    }
    return ids.map((id) => found.get(id));
  });
}

/**
 * Those orders whose status is the known one. Stage records change only with the status, and nothing else that
 * is not read here ever changes.
 */
async function refreshed(queries: Reads, known: readonly StoredOrder[]): Promise<Map<string, StoredOrder>> {
  if (known.length === 0) return new Map();
  const rows = await read(queries, selectHeads(known.map(({ id }) => id)));
  const heads = new Map(rows.map((row) => [row.id, row]));
  return new Map(
    known.flatMap((order) => {
      const head = heads.get(order.id);
      return head?.status === order.status ? [[order.id, { ...order, ...standingOf(head) }] as const] : [];
    }),
  );
}

/**
 * One page of orders, newest first, and the next cursor (null on the last page). Stable while orders arrive,
 * since new ones come before the first page. If few orders match, a page may have fewer than its limit. @throws
 * {DatabaseError}
 */
export async function listOrders(
  database: Database,
  filter: OrderFilter,
  page: { readonly limit: number; readonly before?: string | undefined },
): Promise<{ items: StoredOrder[]; next: string | null }> {
  return database.query(async (queries) => {
    const { rows, older } = await findPage(queries, filter, page);
    return { items: await completed(queries, rows), next: older };
  });
}

type OrderRow = Pick<typeof orders.$inferSelect, (typeof ORDER_KEYS)[number]>;

async function completed(queries: Reads, rows: readonly OrderRow[]): Promise<StoredOrder[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  return assembled(rows, ...(await readBoth(queries, selectLines(ids), recordsOf(ids))));
}

function assembled(
  rows: readonly OrderRow[],
  lineRows: readonly (OrderLine & { readonly orderId: string })[],
  recordRows: readonly RecordRow[],
): StoredOrder[] {
  const lines = groupBy(lineRows, ({ orderId }) => orderId);
  const records = recordsByOrder(recordRows);
  return rows.map((row) => ({
    id: row.id,
    customerId: row.customerId,
    reference: row.reference,
    currency: row.currency,
    total: row.total,
    lines: (lines.get(row.id) ?? []).map(({ sku, quantity, unitPrice }) => ({ sku, quantity, unitPrice })),
    paymentToken: row.paymentToken,
    shipTo: row.shipTo,
    records: records.get(row.id) ?? {},
    createdAt: row.createdAt,
    ...standingOf(row),
  }));
}
