import type { StockItem } from "../../launcher/demo-stock.ts";
import { LIMITS } from "../../../src/order/limits.ts";
import type { ConveyorClient } from "../client.ts";
import { addToStock, lacking, piecesOf, readLevels } from "../stock.ts";
import type { DemoOrder } from "./orders.ts";

const CONCURRENCY = 10;

/**
 * A line that can't be fulfilled: one piece more than there is of the product that is sold out. Somebody may have loaded
 * it since; and unless it exists, it is made known, with nothing on hand.
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

/** Adds what the orders need and the stock lacks; nothing is taken away. */
export async function stockUp(client: ConveyorClient, orders: readonly DemoOrder[]): Promise<void> {
  const needed = piecesOf(orders.filter(({ kind }) => kind !== "sold out").map(({ request }) => request));
  const levels = await readLevels(client, needed.keys(), CONCURRENCY);
  await addToStock(client, levels, lacking(needed, levels));
}
