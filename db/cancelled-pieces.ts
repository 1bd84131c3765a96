import type { OrderLine } from "../src/order/order.ts";
import type { Reads, Statement } from "./queries.ts";
import { orderLines } from "./schema.ts";
import { assignmentsOf, read, selectFrom } from "./statements.ts";

/*
 * Pieces that were refunded before they were in a parcel. Whoever has read an order before may not know of them: what moves its
 * goods looks here, under the order's lock. Their number changes with the order's `changed_at`.
 */

const select = selectFrom(
  orderLines,
  ["orderId", "position", "sku", "details"],
  "WHERE order_id IN (?) AND details IS NOT NULL ORDER BY order_id, position",
);

const selectLines = selectFrom(
  orderLines,
  ["position", "sku", "quantity", "unitPrice", "details"],
  "WHERE order_id = ? ORDER BY position",
);

/** An order's lines, as they are now. */
export async function readLines(queries: Reads, orderId: string): Promise<OrderLine[]> {
  const rows = await read(queries, selectLines(orderId));
  return rows.map(lineOf);
}

function lineOf({
  sku,
  quantity,
  unitPrice,
  details,
}: Omit<typeof orderLines.$inferSelect, "orderId">): OrderLine {
  return { sku, quantity, unitPrice, ...details };
}

/** How many pieces of each of these orders were cancelled. */
export async function countCancelled(
  queries: Reads,
  orderIds: readonly string[],
): Promise<Map<string, number>> {
  const counts = new Map(orderIds.map((orderId) => [orderId, 0]));
  const rows = orderIds.length === 0 ? [] : await read(queries, select(orderIds));
  for (const { orderId, details } of rows)
    counts.set(orderId, (counts.get(orderId) ?? 0) + (details?.cancelled ?? 0));
  return counts;
}

/** The cancelled pieces by order and SKU. */
export async function cancelledBySku(
  queries: Reads,
  orderIds: readonly string[],
): Promise<Map<string, Map<string, number>>> {
  const found = new Map<string, Map<string, number>>();
  if (orderIds.length === 0) return found;
  for (const { orderId, sku, details } of await read(queries, select(orderIds))) {
    const { cancelled = 0, stocked } = details ?? {};
    if (cancelled === 0 || stocked === false) continue;
    const bySku = found.get(orderId) ?? new Map<string, number>();
    found.set(orderId, bySku.set(sku, (bySku.get(sku) ?? 0) + cancelled));
  }
  return found;
}

/** An order's lines, which were read before, with the pieces that are cancelled now. */
export async function withCancelled(
  queries: Reads,
  orderId: string,
  lines: readonly OrderLine[],
): Promise<readonly OrderLine[]> {
  const rows = await read(queries, select([orderId]));
  const now = new Map(rows.map(({ position, details }) => [position, details?.cancelled]));
  return lines.map((line, position) => ({ ...line, cancelled: now.get(position) }));
}

/** Writes down how many pieces of a line are cancelled. */
export function writeCancelled(
  orderId: string,
  position: number,
  { sku: _sku, quantity: _quantity, unitPrice: _price, ...details }: OrderLine,
): Statement {
  const { sql, values } = assignmentsOf(orderLines, { details });
  return {
    sql: `UPDATE order_lines SET ${sql} WHERE order_id = ? AND position = ?`,
    values: [...values, orderId, position],
  };
}
