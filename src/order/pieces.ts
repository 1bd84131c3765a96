import { stockedLines, toDeliver, type OrderLine } from "./order.ts";
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
  return toDeliver(lines).flatMap((line, position) => {
    const quantity = line.requiresShipping !== false ? line.quantity - (held.get(position) ?? 0) : 0;
    return quantity > 0 ? [{ position, sku: line.sku, quantity }] : [];
  });
}

/** Whether none of these pieces is in one of these shipments. */
export function areFree(
  lines: readonly OrderLine[],
  pieces: readonly ShipmentLine[],
  shipments: readonly Pick<Shipment, "state" | "closedAt" | "lines">[],
): boolean {
  const left = new Map(unplanned(lines, shipments).map(({ position, quantity }) => [position, quantity]));
  return pieces.every(({ position, quantity }) => (left.get(position) ?? 0) >= quantity);
}

/** Whether two shipments have the same pieces. */
export function hasSamePieces(one: Pick<Shipment, "lines">, other: Pick<Shipment, "lines">): boolean {
  const pieces = ({ lines }: Pick<Shipment, "lines">) =>
    lines.map(({ position, quantity }) => `${position}:${quantity}`).join();
  return pieces(one) === pieces(other);
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
    if (line === undefined) return [];
    const { cancelled: _cancelled, ...piece } = line;
    return [{ ...piece, quantity }];
  });
}

/** Shipments, of which those that are planned lack the pieces that were cancelled since. */
export function withoutCancelled(
  lines: readonly OrderLine[],
  shipments: readonly Shipment[],
): readonly Shipment[] {
  if (lines.every(({ cancelled = 0 }) => cancelled === 0)) return shipments;
  const left = new Map(toDeliver(lines).map(({ quantity }, position) => [position, quantity]));
  const take = ({ position, quantity }: ShipmentLine) => {
    const taken = Math.max(0, Math.min(quantity, left.get(position) ?? 0));
    left.set(position, (left.get(position) ?? 0) - quantity);
    return taken;
  };
  for (const { lines: sent } of shipments.filter((each) => each.state !== "PLANNED" && holdsPieces(each)))
    for (const line of sent) take(line);
  return shipments.map((each) => {
    if (each.state !== "PLANNED") return each;
    const fitting = each.lines.map((line) => ({ ...line, quantity: take(line) }));
    return fitting.every(({ quantity }, index) => quantity === each.lines[index]?.quantity)
      ? each
      : { ...each, lines: fitting.filter(({ quantity }) => quantity > 0) };
  });
}

/** How many pieces of each line are in no parcel that brings them to the customer, by position. */
export function inNoParcel(
  lines: readonly OrderLine[],
  shipments: readonly Pick<Shipment, "state" | "closedAt" | "lines">[],
): number[] {
  const free = toDeliver(lines).map(({ quantity }) => quantity);
  for (const shipment of shipments)
    if (holdsPieces(shipment))
      for (const { position, quantity } of shipment.lines)
        free[position] = Math.max(0, (free[position] ?? 0) - quantity);
  return free;
}

/**
 * How many pieces of each line were refunded while they were in a parcel that is called off, by position: as many as can have
 * been in no other one, and are in none now.
 *
 * @param refunded lines of refunds that did not fail. @param others the order's other shipments
 */
export function piecesToKeep(
  lines: readonly OrderLine[],
  refunded: readonly { readonly position: number; readonly quantity: number; readonly cancelled?: number }[],
  parcel: Pick<Shipment, "lines">,
  others: readonly Pick<Shipment, "state" | "closedAt" | "lines">[],
): number[] {
  const free = inNoParcel(lines, others);
  return lines.map(({ requiresShipping }, position) => {
    const of = (all: readonly { readonly position: number; readonly quantity: number }[]) =>
      all.reduce((sum, each) => (each.position === position ? sum + each.quantity : sum), 0);
    const inParcels = refunded.map((each) => ({ ...each, quantity: each.quantity - (each.cancelled ?? 0) }));
    const elsewhere = of(others.filter(holdsPieces).flatMap((each) => each.lines));
    const most = Math.min(of(parcel.lines), free[position] ?? 0);
    return requiresShipping === false ? 0 : Math.max(0, Math.min(most, of(inParcels) - elsewhere));
  });
}

/** Whether nothing is left to ship, and nothing on its way. */
export function hasArrived(lines: readonly OrderLine[], shipments: readonly Shipment[]): boolean {
  return unplanned(lines, shipments).length === 0 && shipments.filter(holdsPieces).every(isSettled);
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
  return stockedLines(toDeliver(lines)).flatMap((line) => {
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
