import { randomUUID } from "node:crypto";
import type { OrderRequestBody, StockBody } from "../../src/api/schemas.ts";
import { LIMITS } from "../../src/order/limits.ts";
import type { ConveyorClient } from "./client.ts";
import { concurrently } from "./concurrently.ts";

/** Quantities by SKU. */
export type Quantities = ReadonlyMap<string, number>;

/** A SKU's stock. */
export type Level = Pick<StockBody, "onHand" | "reserved">;

const NOTHING: Level = { onHand: 0, reserved: 0 };

/** The quantities of stocked goods that the orders contain. */
export function quantitiesOf(orders: Iterable<Pick<OrderRequestBody, "lines">>): Map<string, number> {
  const quantities = new Map<string, number>();
  for (const { lines } of orders)
    for (const { sku, quantity, stocked } of lines)
      if (stocked !== false) quantities.set(sku, (quantities.get(sku) ?? 0) + quantity);
  return quantities;
}

/** Reads the stock of these SKUs; an unknown SKU has none. */
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
 * The quantities to add so that enough is available. Nothing where enough is, so a second run reuses what the
 * first one left. Never exceeds the maximum on hand.
 */
export function lacking(needed: Quantities, levels: ReadonlyMap<string, Level>): Map<string, number> {
  const lacks = new Map<string, number>();
  for (const [sku, quantities] of needed) {
    const { onHand, reserved } = levels.get(sku) ?? NOTHING;
    const lack = Math.min(quantities - (onHand - reserved), LIMITS.onHand - onHand);
    if (lack > 0) lacks.set(sku, lack);
  }
  return lacks;
}

/** The quantities to remove: loaded for orders that were not placed, and not reserved. */
export function unneeded(
  loaded: Quantities,
  notMade: Quantities,
  levels: ReadonlyMap<string, Level>,
): Map<string, number> {
  const quantities = new Map<string, number>();
  for (const [sku, count] of loaded) {
    const { onHand, reserved } = levels.get(sku) ?? NOTHING;
    const back = Math.min(count, notMade.get(sku) ?? 0, onHand - reserved);
    if (back > 0) quantities.set(sku, back);
  }
  return quantities;
}

/** Adds to the stock, or removes where negative: by adjustments, since others may count the same stock. */
export async function addToStock(
  client: Pick<ConveyorClient, "adjustStock">,
  quantities: Quantities,
  { reason, concurrency }: { readonly reason: string; readonly concurrency: number },
): Promise<void> {
  await concurrently(quantities, concurrency, async ([sku, delta]) => {
    await client.adjustStock(sku, { delta, reason }, randomUUID());
  });
}
