import type { OrderLine, StoredOrder } from "../src/order/order.ts";
import type { Database } from "./database.ts";
import { recordsByOrder, recordsOf, type RecordRow } from "./order-events.ts";
import { findPage, type OrderFilter } from "./order-list.ts";
import type { Reads } from "./queries.ts";
import { orderLines, orders } from "./schema.ts";
import { standingOf } from "./standing.ts";
import { read, readBoth, readThree, selectFrom } from "./statements.ts";

/*
 * Reads orders, many at once, so that callers who want them at the same moment can share a statement.
 */

/** What changes of an order while it is on its way. */
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
/** All columns that make a {@link StoredOrder}. */
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
/**
 * The orders of these ids, in the order of the ids; undefined where there is none.
 *
 * @param known an order as it was read before. What never changes is taken from there, and read is only what may have
 * changed since, which is a small part of it. @throws {DatabaseError}
 */
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
 * Those orders that still have the status in which they are known: what their stages left behind comes with a status, and
 * all else of what is not read here stands from the beginning.
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
 * One page of orders, newest first, and the id to go on after (null on the last page). Stable while orders arrive:
 * new ones come before the first page. A page may have fewer orders than its limit where few match.
 * @throws {DatabaseError}
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
  lineRows: readonly LineRow[],
  recordRows: readonly RecordRow[],
): StoredOrder[] {
  const lines = linesByOrder(lineRows);
  const records = recordsByOrder(recordRows);
  return rows.map((row) => ({
    id: row.id,
    customerId: row.customerId,
    reference: row.reference,
    currency: row.currency,
    total: row.total,
    lines: lines.get(row.id) ?? [],
    paymentToken: row.paymentToken,
    shipTo: row.shipTo,
    records: records.get(row.id) ?? {},
    createdAt: row.createdAt,
    ...standingOf(row),
  }));
}

type LineRow = OrderLine & { readonly orderId: string };

function linesByOrder(rows: readonly LineRow[]): Map<string, OrderLine[]> {
  const lines = new Map<string, OrderLine[]>();
  for (const { orderId, sku, quantity, unitPrice } of rows) {
    const known = lines.get(orderId);
    if (known) known.push({ sku, quantity, unitPrice });
    else lines.set(orderId, [{ sku, quantity, unitPrice }]);
  }
  return lines;
}
