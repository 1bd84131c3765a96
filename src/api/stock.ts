import { listMovements, type StockMovement } from "../../db/stock-movements.ts";
import { findStock, listStock, type StockLevel } from "../../db/stock.ts";
import { actorOf } from "./auth.ts";
import { cursorOf, fromCursor } from "./cursor.ts";
import { conditionHeaders, conditionOf, ETAG, etagOf } from "./etag.ts";
import { idempotencyHeaders, keyOf, REPLAYED, tellRepeated } from "./idempotency.ts";
import { noSuch, route, type Route } from "./route.ts";
import {
  stock,
  stockAdjustment,
  stockLevel,
  stockLevels,
  stockList,
  stockMovements,
  stockPage,
  stockPath,
  stockQuery,
  type StockBody,
  type StockMovementBody,
} from "./schemas.ts";
import { adjustLevel, setLevels } from "./stock-changes.ts";

const STOCK = { scope: "key", tag: "Stock" } as const;
const SETS_TOTAL =
  "Sets the total rather than adding to it, so it takes no `Idempotency-Key`. A repeated request sets the same total again: " +
  "goods that have left in the meantime would count as on hand again. Where others count too, use adjustments";

/** `/stock`: stock levels. */
export const stockRoutes: readonly Route[] = [
  route({
    ...STOCK,
    method: "GET",
    path: "/stock",
    summary: "List stock levels, by SKU",
    request: { query: stockQuery },
    answers: { 200: { description: "One page", schema: stockPage } },
    handler: async ({ query: { limit, cursor }, response }, { reads }) => {
      const { items, next } = await listStock(reads, { limit, after: fromCursor(cursor) });
      response.json({ items: items.map(body), nextCursor: cursorOf(next) });
    },
  }),
  route({
    ...STOCK,
    method: "POST",
    path: "/stock",
    summary: "Set the stock on hand of many SKUs, all or none",
    description: `${SETS_TOTAL}.`,
    request: { body: stockLevels },
    answers: { 200: { description: "The levels now", schema: stockList } },
    failures: [409],
    handler: async ({ body: { items }, response }, services) => {
      response.json({ items: (await setLevels(services, items, { actor: actorOf(response) })).map(body) });
    },
  }),
  route({
    ...STOCK,
    method: "GET",
    path: "/stock/:sku",
    summary: "Get the stock of a SKU",
    request: { params: stockPath },
    answers: { 200: { description: "The level", schema: stock, headers: ETAG } },
    failures: [404],
    handler: async ({ params: { sku }, response }, { database }) => {
      const [level] = await findStock(database, [sku]);
      if (level === undefined) throw noSuch("SKU", sku);
      response.set("ETag", etagOf(level)).json(body(level));
    },
  }),
  route({
    ...STOCK,
    method: "PUT",
    path: "/stock/:sku",
    summary: "Set the stock on hand of a SKU",
    description: `${SETS_TOTAL}, or \`If-Match\` with the level that you have seen.`,
    request: { params: stockPath, body: stockLevel, headers: conditionHeaders },
    answers: { 200: { description: "The level now", schema: stock, headers: ETAG } },
    failures: [409, 412],
    handler: async ({ params: { sku }, body: { onHand }, headers, response }, services) => {
      const options = { actor: actorOf(response), isExpected: conditionOf(headers) };
      const [level] = await setLevels(services, [{ sku, onHand }], options);
      if (level) response.set("ETag", etagOf(level)).json(body(level));
    },
  }),
  route({
    ...STOCK,
    method: "POST",
    path: "/stock/:sku/adjustments",
    summary: "Add to the stock on hand of a SKU, or take from it",
    description:
      "For stock that others count too. Repeating the request with the same `Idempotency-Key` changes nothing and returns the " +
      "first answer; without a key, each request is an adjustment of its own. An unknown SKU begins with nothing.",
    request: { params: stockPath, body: stockAdjustment, headers: idempotencyHeaders },
    answers: {
      200: { description: "The level that it led to", schema: stock, headers: { ...ETAG, ...REPLAYED } },
    },
    failures: [404, 409],
    handler: async ({ params: { sku }, body: adjustment, headers, response }, services) => {
      const key = keyOf(headers, response);
      const adjusted = await adjustLevel(services, sku, adjustment, { actor: actorOf(response), key });
      tellRepeated(response, adjusted.repeated);
      response.set("ETag", etagOf(adjusted.level)).json(body(adjusted.level));
    },
  }),
  route({
    ...STOCK,
    method: "GET",
    path: "/stock/:sku/movements",
    summary: "List what changed the stock on hand of a SKU, newest first",
    description: "The changes add up to the stock on hand.",
    request: { params: stockPath, query: stockQuery },
    answers: { 200: { description: "One page", schema: stockMovements } },
    failures: [404],
    handler: async ({ params: { sku }, query: { limit, cursor }, response }, { database, reads }) => {
      const [level] = await findStock(database, [sku]);
      if (level === undefined) throw noSuch("SKU", sku);
      const before = fromCursor(cursor, Number);
      const { items, older } = await listMovements(reads, sku, { limit, before });
      response.json({ items: items.map(movementBody), nextCursor: cursorOf(older) });
    },
  }),
];

function body({ sku, onHand, reserved }: StockLevel): StockBody {
  return { sku, onHand, reserved, available: onHand - reserved };
}

function movementBody({ sku, at, ...movement }: StockMovement): StockMovementBody {
  return { ...movement, at: at.toISOString() };
}
