import type { OrderRequestBody, StockBody } from "../../src/api/schemas.ts";
import { LIMITS } from "../../src/order/limits.ts";
import { API_LIMITS } from "../../src/api/limits.ts";
import type { ConveyorClient } from "./client.ts";
import { concurrently } from "./concurrently.ts";

/** Pieces by SKU. */
export type Pieces = ReadonlyMap<string, number>;

/** What lies in stock of a SKU. */
export type Level = Pick<StockBody, "onHand" | "reserved">;

const NOTHING: Level = { onHand: 0, reserved: 0 };

/** The pieces that orders ask for. */
export function piecesOf(orders: Iterable<Pick<OrderRequestBody, "lines">>): Map<string, number> {
  const pieces = new Map<string, number>();
  for (const { lines } of orders)
    for (const { sku, quantity } of lines) pieces.set(sku, (pieces.get(sku) ?? 0) + quantity);
  return pieces;
}

/** What lies in stock of these SKUs; one that the service never heard of has nothing. */
export async function readLevels(
  client: ConveyorClient,
  skus: Iterable<string>,
  concurrency: number,
  onRead: (done: number) => void = () => {},
): Promise<Map<string, Level>> {
  const levels = new Map<string, Level>();
  await concurrently(skus, concurrency, async (sku) => {
    levels.set(sku, (await client.stock(sku)) ?? NOTHING);
    onRead(levels.size);
  });
  return levels;
}

/**
 * What must be added so that the available pieces suffice: nothing where they do already, so that a second run finds what
 * the first one left. Never more than a shelf holds.
 */
export function lacking(needed: Pieces, levels: ReadonlyMap<string, Level>): Map<string, number> {
  const lacks = new Map<string, number>();
  for (const [sku, pieces] of needed) {
    const { onHand, reserved } = levels.get(sku) ?? NOTHING;
    const lack = Math.min(pieces - (onHand - reserved), LIMITS.onHand - onHand);
    if (lack > 0) lacks.set(sku, lack);
  }
  return lacks;
}

/** The pieces to take out again: what was loaded for orders that were not made, as far as nobody reserved it. */
export function unneeded(
  loaded: Pieces,
  notMade: Pieces,
  levels: ReadonlyMap<string, Level>,
): Map<string, number> {
  const pieces = new Map<string, number>();
  for (const [sku, count] of loaded) {
    const { onHand, reserved } = levels.get(sku) ?? NOTHING;
    const back = Math.min(count, notMade.get(sku) ?? 0, onHand - reserved);
    if (back > 0) pieces.set(sku, back);
  }
  return pieces;
}

/** Adds pieces (or takes them out, where negative) to what lies there now. */
export async function addToStock(
  client: ConveyorClient,
  levels: ReadonlyMap<string, Level>,
  pieces: Pieces,
): Promise<void> {
  const items = Array.from(pieces, ([sku, count]) => ({
    sku,
    onHand: (levels.get(sku) ?? NOTHING).onHand + count,
  }));
  for (let at = 0; at < items.length; at += API_LIMITS.stockItems)
    await client.setStock(items.slice(at, at + API_LIMITS.stockItems));
}
