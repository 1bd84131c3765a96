import { stockedLines, type OrderLine } from "../src/order/order.ts";
import type { Refund, RefundLine } from "../src/order/payment.ts";
import { fromStock, inNoParcel } from "../src/order/pieces.ts";
import type { Shipment } from "../src/order/shipment.ts";
import { withCancelled, writeCancelled } from "./cancelled-pieces.ts";
import type { Statement, Transaction } from "./queries.ts";
import type { StockMove } from "./reservations.ts";
import { readShipments } from "./shipments.ts";

/* What refunds keep from being shipped. */

/** Pieces of an order that are paid back. Those that are in no parcel are not shipped. */
export interface WantedPieces {
  /** The order's lines, as they were read. */
  readonly of: readonly OrderLine[];
  readonly skus: readonly string[];
  /** Whether they go back into stock. */
  readonly restock: boolean;
  /** Whether pieces of the order, as it is now, may still be kept from being shipped. */
  readonly mayKeep: (order: LockedOrder) => boolean;
  /** Which lines they are of, after those that came back before. */
  readonly linesAfter: (earlier: readonly Refund[]) => readonly RefundLine[];
  /** As much of an amount as the provider can move. Minor units. */
  readonly movable: (amount: number) => number;
  /** Called with the lines and what is not shipped of them. @throws if that can't be. */
  readonly check: (lines: readonly RefundLine[], order: LockedOrder) => void;
}

/** What a refund has to know of an order's locked row. */
export interface LockedOrder {
  readonly status: string;
  readonly cancelRequestedAt: Date | null;
}

/** What a refund keeps from being shipped, decided under the order's lock. */
export interface KeptBack {
  readonly lines: readonly RefundLine[];
  /** What that does to the stock. */
  readonly moves: readonly Pick<StockMove, "operation" | "lines">[];
  readonly writes: readonly Statement[];
}

/**
 * Which of the pieces are not shipped: those in no parcel. Those that an earlier refund has kept back, which failed, come
 * first: they are kept back already.
 */
export async function keptBack(
  transaction: Transaction,
  order: LockedOrder & { readonly id: string },
  { of, restock, mayKeep, linesAfter, check }: WantedPieces,
  earlier: readonly Refund[],
): Promise<KeptBack> {
  const wanted = linesAfter(earlier);
  if (!mayKeep(order)) {
    check(wanted, order);
    return { lines: wanted, moves: [], writes: [] };
  }
  const now = await withCancelled(transaction, order.id, of);
  const shipments = await readShipments(transaction, [order.id]);
  const free = inNoParcel(now, shipments);
  const paid = earlier.filter(({ state }) => state !== "FAILED").flatMap(({ lines }) => lines ?? []);
  // What failed refunds have put back into stock.
  const inStock = now.map(() => 0);
  for (const refund of earlier.filter((each) => each.state === "FAILED" && each.restock !== "no"))
    for (const { position, cancelled = 0 } of refund.lines ?? [])
      inStock[position] = (inStock[position] ?? 0) + cancelled;
  // What failed refunds have kept back, and nobody has been paid for.
  const unpaid = now.map(({ cancelled = 0 }) => cancelled);
  for (const { position, cancelled = 0 } of paid) unpaid[position] = (unpaid[position] ?? 0) - cancelled;
  const more = now.map(() => 0);
  const toStock: OrderLine[] = [];
  const lines: RefundLine[] = [];
  // Two of them may be of one line.
  for (const line of wanted) {
    const { position, quantity } = line;
    const known = Math.min(quantity, unpaid[position] ?? 0);
    const fresh = Math.min(quantity - known, free[position] ?? 0);
    const writtenOff = Math.min(known, Math.max(0, (unpaid[position] ?? 0) - (inStock[position] ?? 0)));
    const its = now[position];
    if (its && writtenOff > 0) toStock.push({ ...its, quantity: writtenOff, cancelled: undefined });
    unpaid[position] = (unpaid[position] ?? 0) - known;
    free[position] = (free[position] ?? 0) - fresh;
    more[position] = (more[position] ?? 0) + fresh;
    lines.push(known + fresh > 0 ? { ...line, cancelled: known + fresh } : line);
  }
  const pieces: OrderLine[] = [];
  const writes: Statement[] = [];
  for (const [position, line] of now.entries()) {
    const quantity = more[position] ?? 0;
    if (quantity === 0) continue;
    pieces.push({ ...line, quantity, cancelled: undefined });
    const cancelled = (line.cancelled ?? 0) + quantity;
    writes.push(writeCancelled(order.id, position, { ...line, cancelled }));
  }
  check(lines, order);
  // What went out with a parcel that brings it to nobody is out of the stock already.
  const { reserved, again } = fromStock(now, stockedLines(pieces), shipments);
  const back = restock ? [...broughtBack(again, shipments), ...stockedLines(toStock)] : [];
  const moves = [
    { operation: restock ? ("unreserve" as const) : ("writeOff" as const), lines: reserved },
    { operation: "putBack" as const, lines: back },
  ];
  return { lines, moves, writes };
}

/** As many of these pieces as parcels have brought back. What was lost is put into stock by nobody. */
function broughtBack(pieces: readonly OrderLine[], shipments: readonly Shipment[]): OrderLine[] {
  const returned = shipments.filter(({ state, closedAt }) => state === "RETURNED" && closedAt === null);
  const left = new Map<string, number>();
  for (const { sku, quantity } of returned.flatMap(({ lines }) => lines))
    left.set(sku, (left.get(sku) ?? 0) + quantity);
  return pieces.flatMap((line) => {
    const quantity = Math.min(line.quantity, left.get(line.sku) ?? 0);
    left.set(line.sku, (left.get(line.sku) ?? 0) - quantity);
    return quantity > 0 ? [{ ...line, quantity }] : [];
  });
}
