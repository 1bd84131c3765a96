import { findStock, setStock, type StockLevel } from "../../db/stock.ts";
import { noSuch, route, type Route } from "./route.ts";
import { stock, stockLevel, stockLevels, stockList, stockPath, type StockBody } from "./schemas.ts";

const STOCK = { scope: "key", tag: "Stock" } as const;
const SETS_TOTAL =
  "Sets the total rather than adding to it, so it takes no `Idempotency-Key`. A repeated request sets the same total again: " +
  "goods that have left in the meantime would count as on hand again, so check the level first.";

/** `/stock`: stock levels. */
export const stockRoutes: readonly Route[] = [
  route({
    ...STOCK,
    method: "POST",
    path: "/stock",
    summary: "Set the stock on hand of many SKUs, all or none",
    description: SETS_TOTAL,
    request: { body: stockLevels },
    answers: { 200: { description: "The levels now", schema: stockList } },
    failures: [409],
    handler: async ({ body: { items }, response }, { database }) => {
      response.json({ items: (await setStock(database, items)).map(body) });
    },
  }),
  route({
    ...STOCK,
    method: "GET",
    path: "/stock/:sku",
    summary: "Get the stock of a SKU",
    request: { params: stockPath },
    answers: { 200: { description: "The level", schema: stock } },
    failures: [404],
    handler: async ({ params: { sku }, response }, { database }) => {
      const [level] = await findStock(database, [sku]);
      if (level === undefined) throw noSuch("SKU", sku);
      response.json(body(level));
    },
  }),
  route({
    ...STOCK,
    method: "PUT",
    path: "/stock/:sku",
    summary: "Set the stock on hand of a SKU",
    description: SETS_TOTAL,
    request: { params: stockPath, body: stockLevel },
    answers: { 200: { description: "The level now", schema: stock } },
    failures: [409],
    handler: async ({ params: { sku }, body: { onHand }, response }, { database }) => {
      const [level] = await setStock(database, [{ sku, onHand }]);
      response.json(level && body(level));
    },
  }),
];

function body({ sku, onHand, reserved }: StockLevel): StockBody {
  return { sku, onHand, reserved, available: onHand - reserved };
}
