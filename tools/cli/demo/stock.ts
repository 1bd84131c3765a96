import type { StockItem } from "../../launcher/demo-stock.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import type { ConveyorClient } from "../client.ts";
import { addToStock, lacking, quantitiesOf, readLevels } from "../stock.ts";
import type { DemoOrder } from "./orders.ts";

const CONCURRENCY = 10;

/**
 * A line that can't be fulfilled: one unit more of the sold-out product than is available, since somebody may
 * have restocked it. Creates the product, with nothing on hand, if it is unknown.
 */
export async function soldOutLine(
  client: ConveyorClient,
  stock: readonly StockItem[],
): Promise<{ sku: string; quantity: number }> {
  const sku = stock.find(({ onHand }) => onHand === 0)?.sku ?? "SOLD-OUT";
  const level = await client.stock(sku);
  if (!level) await client.setStock([{ sku, onHand: 0 }]);
  return { sku, quantity: Math.min(LIMITS.quantity, (level?.available ?? 0) + 1) };
}

/** Adds the stock that the orders need and that is missing; removes none. */
export async function stockUp(client: ConveyorClient, orders: readonly DemoOrder[]): Promise<void> {
  const needed = quantitiesOf(orders.filter(({ kind }) => kind !== "sold out").map(({ request }) => request));
  const levels = await readLevels(client, needed.keys(), CONCURRENCY);
  await addToStock(client, lacking(needed, levels), { reason: "npm run demo", concurrency: CONCURRENCY });
}
