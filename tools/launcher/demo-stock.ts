/** A product and its quantity in the warehouse. */
export interface StockItem {
  sku: string;
  onHand: number;
}

/** Stock to try Conveyor with. One product is sold out, so that an order for it is cancelled. */
export const DEMO_STOCK: readonly StockItem[] = [
  { sku: "MUG-BLUE", onHand: 500 },
  { sku: "MUG-GREEN", onHand: 500 },
  { sku: "TEAPOT-IRON", onHand: 80 },
  { sku: "TSHIRT-M", onHand: 1000 },
  { sku: "TSHIRT-L", onHand: 1000 },
  { sku: "HOODIE-M", onHand: 250 },
  { sku: "NOTEBOOK-A5", onHand: 2000 },
  { sku: "PEN-BLACK", onHand: 5000 },
  { sku: "BACKPACK-20L", onHand: 120 },
  { sku: "BOTTLE-STEEL", onHand: 300 },
  { sku: "LAMP-DESK", onHand: 40 },
  { sku: "LAMP-RETIRED", onHand: 0 },
];

/** An order that gets delivered. */
export const DEMO_ORDER = {
  customerId: "cust-1",
  currency: "EUR",
  lines: [{ sku: "MUG-BLUE", quantity: 2, unitPrice: 1250 }],
  paymentToken: "tok_approved",
};

const TIMEOUT_MS = 10_000;

/**
 * Loads the demo stock through the API unless it was loaded before, so that sold items stay sold.
 *
 * @returns whether the stock was loaded
 * @throws Error when the API refuses or does not answer
 */
export async function loadDemoStock(conveyorUrl: string, apiKey: string): Promise<boolean> {
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const first = await fetch(`${conveyorUrl}/stock/${DEMO_STOCK[0]?.sku}`, { headers, signal });
  await first.body?.cancel();
  if (first.ok) return false;
  if (first.status !== 404) throw new Error(`GET /stock answered ${first.status}`);
  const body = JSON.stringify({ items: DEMO_STOCK });
  const answer = await fetch(`${conveyorUrl}/stock`, { method: "POST", headers, body, signal });
  if (!answer.ok) throw new Error(`POST /stock answered ${answer.status}: ${await answer.text()}`);
  return true;
}
