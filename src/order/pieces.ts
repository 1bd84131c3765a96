import { stockedLines, type OrderLine } from "./order.ts";
import { hasLeft, holdsPieces, isSettled, type Shipment, type ShipmentLine } from "./shipment.ts";

/* Which pieces of an order are in which shipment. */

/** The pieces of these lines that are in no shipment, by line; lines that need no shipping are left out. */
export function unplanned(
  lines: readonly OrderLine[],
  shipments: readonly Pick<Shipment, "state" | "closedAt" | "lines">[],
): ShipmentLine[] {
  const held = new Map<number, number>();
  for (const shipment of shipments)
    if (holdsPieces(shipment))
      for (const { position, quantity } of shipment.lines)
        held.set(position, (held.get(position) ?? 0) + quantity);
  return lines.flatMap((line, position) => {
    const quantity = line.requiresShipping !== false ? line.quantity - (held.get(position) ?? 0) : 0;
    return quantity > 0 ? [{ position, sku: line.sku, quantity }] : [];
  });
}

/** More pieces are asked for than are left. */
export class TooManyPiecesError extends Error {
  override name = "TooManyPiecesError";
  readonly sku: string;
  readonly left: number;
  constructor(sku: string, left: number) {
    super(left === 0 ? `no pieces of ${sku} are left to ship` : `only ${left} of ${sku} are left to ship`);
    this.sku = sku;
    this.left = left;
  }
}

/** Takes pieces from what is left, in the order of the lines. @throws {TooManyPiecesError} */
export function takePieces(
  left: readonly ShipmentLine[],
  wanted: readonly { readonly sku: string; readonly quantity: number }[],
): ShipmentLine[] {
  const taken = new Map<number, ShipmentLine>();
  for (const { sku, quantity } of wanted) {
    let missing = quantity;
    for (const line of left) {
      if (line.sku !== sku || missing === 0) continue;
      const before = taken.get(line.position)?.quantity ?? 0;
      const now = Math.min(missing, line.quantity - before);
      if (now > 0) taken.set(line.position, { ...line, quantity: before + now });
      missing -= now;
    }
    if (missing > 0) throw new TooManyPiecesError(sku, quantity - missing);
  }
  return [...taken.values()].toSorted((a, b) => a.position - b.position);
}

/** Pieces as lines of the order, with their prices and weights. */
export function linesOf(lines: readonly OrderLine[], pieces: readonly ShipmentLine[]): OrderLine[] {
  return pieces.flatMap(({ position, quantity }) => {
    const line = lines[position];
    return line ? [{ ...line, quantity }] : [];
  });
}

/** Whether nothing is left to ship, and nothing on its way. */
export function hasArrived(lines: readonly OrderLine[], shipments: readonly Shipment[]): boolean {
  return (
    unplanned(lines, shipments).length === 0 &&
    shipments.filter(holdsPieces).every((each) => hasLeft(each) && isSettled(each))
  );
}

/**
 * The stocked pieces that have not left the stock with any of these shipments. They are what the order has reserved, so they are
 * counted by SKU: which of several lines of one SKU a piece was sent for makes no difference to the stock.
 */
export function notGone(
  lines: readonly OrderLine[],
  shipments: readonly Pick<Shipment, "state" | "lines">[],
): readonly OrderLine[] {
  const gone = new Map<string, number>();
  for (const shipment of shipments.filter(hasLeft))
    for (const { position, sku, quantity } of shipment.lines)
      if (lines[position]?.stocked !== false) gone.set(sku, (gone.get(sku) ?? 0) + quantity);
  return stockedLines(lines).flatMap((line) => {
    const left = line.quantity - (gone.get(line.sku) ?? 0);
    gone.set(line.sku, Math.max(0, -left));
    return left > 0 ? [{ ...line, quantity: left }] : [];
  });
}

/** Divides pieces into those that the order still has reserved, and those that are sent once more. */
export function fromStock(
  lines: readonly OrderLine[],
  pieces: readonly OrderLine[],
  known: readonly Shipment[],
) {
  const left = new Map<string, number>();
  for (const { sku, quantity } of notGone(lines, known)) left.set(sku, (left.get(sku) ?? 0) + quantity);
  const reserved: OrderLine[] = [];
  const again: OrderLine[] = [];
  for (const line of pieces) {
    const count = Math.min(line.quantity, left.get(line.sku) ?? 0);
    left.set(line.sku, (left.get(line.sku) ?? 0) - count);
    if (count > 0) reserved.push({ ...line, quantity: count });
    if (count < line.quantity) again.push({ ...line, quantity: line.quantity - count });
  }
  return { reserved, again };
}
