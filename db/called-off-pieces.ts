import { stockedLines, type OrderLine } from "../src/order/order.ts";
import type { Refund } from "../src/order/payment.ts";
import { fromStock, piecesToKeep } from "../src/order/pieces.ts";
import type { Shipment } from "../src/order/shipment.ts";
import { timestamp } from "../src/platform/clock.ts";
import { readLines, writeCancelled } from "./cancelled-pieces.ts";
import { laterThan } from "./order-states.ts";
import type { Statement, Transaction } from "./queries.ts";
import type { StockMove } from "./reservations.ts";
import { orders, refunds } from "./schema.ts";
import { assignmentsOf, read, selectFrom } from "./statements.ts";

/* Pieces that were refunded while they were in a parcel that is called off: nobody is sent them again. */

const selectRefunds = selectFrom(
  refunds,
  ["id", "lines", "restock"],
  "WHERE order_id = ? AND state <> 'FAILED' ORDER BY id FOR UPDATE",
);

/** A locked order. */
interface Locked {
  readonly id: string;
  readonly changedAt: Date | null;
  /** What is being cancelled puts its pieces back itself. */
  readonly cancelRequestedAt: Date | null;
}

/**
 * Keeps refunded pieces of a parcel that is called off from being shipped with another: those that can have been in no other
 * parcel. As with pieces that are refunded before they are in one, they go back into stock if they were to, or are written off.
 *
 * @param others the order's other shipments. @returns what that does to the stock, and the statements
 */
export async function keepRefunded(
  transaction: Transaction,
  order: Locked,
  parcel: Pick<Shipment, "lines">,
  others: readonly Shipment[],
): Promise<{ readonly moves: readonly StockMove[]; readonly writes: readonly Statement[] }> {
  const rows = order.cancelRequestedAt === null ? await read(transaction, selectRefunds(order.id)) : [];
  if (!rows.some(({ lines }) => lines !== null)) return { moves: [], writes: [] };
  const lines = await readLines(transaction, order.id);
  const left = piecesToKeep(
    lines,
    rows.flatMap((refund) => refund.lines ?? []),
    parcel,
    others,
  );
  if (left.every((count) => count === 0)) return { moves: [], writes: [] };
  const kept: Record<"unreserve" | "writeOff", OrderLine[]> = { unreserve: [], writeOff: [] };
  const writes: Statement[] = left.flatMap((count, position) => {
    const line = lines[position];
    if (line === undefined || count === 0) return [];
    return [writeCancelled(order.id, position, { ...line, cancelled: (line.cancelled ?? 0) + count })];
  });
  for (const { id, restock, lines: refunded } of rows) {
    const now = takeInto(refunded ?? [], left, ({ position, quantity }) => {
      const line = lines[position];
      // What is in stock already, since the refund has put it there, comes back with the parcel once more.
      if (line)
        kept[restock === "due" ? "unreserve" : "writeOff"].push({ ...line, quantity, cancelled: undefined });
    });
    if (now) writes.push(update("refunds", assignmentsOf(refunds, { lines: now }), id));
  }
  const at = timestamp();
  const changedAt = laterThan(order.changedAt, at);
  return {
    moves: (["unreserve", "writeOff"] as const).flatMap((operation) => {
      const { reserved } = fromStock(lines, stockedLines(kept[operation]), others);
      return reserved.length > 0 ? [{ orderId: order.id, operation, lines: reserved }] : [];
    }),
    writes: [...writes, update("orders", assignmentsOf(orders, { changedAt }), order.id)],
  };
}

/** Marks so many pieces of a refund as not shipped. @returns its lines then; undefined if it has none of them */
function takeInto(
  lines: NonNullable<Refund["lines"]>,
  left: number[],
  onTaken: (taken: { readonly position: number; readonly quantity: number }) => void,
): NonNullable<Refund["lines"]> | undefined {
  let isChanged = false;
  const now = lines.map((line) => {
    const { position, cancelled = 0 } = line;
    const quantity = Math.min(left[position] ?? 0, line.quantity - cancelled);
    if (quantity === 0) return line;
    isChanged = true;
    left[position] = (left[position] ?? 0) - quantity;
    onTaken({ position, quantity });
    return { ...line, cancelled: cancelled + quantity };
  });
  return isChanged ? now : undefined;
}

function update(table: "refunds" | "orders", { sql, values }: Statement, id: string): Statement {
  return { sql: `UPDATE ${table} SET ${sql} WHERE id = ?`, values: [...values, id] };
}
