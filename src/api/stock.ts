import { Router } from "express";
import type { Database } from "../../db/database.ts";
import { findStock, setStock, type StockLevel } from "../../db/stock.ts";
import { methodNotAllowed, Problem } from "./problem.ts";
import { stockLevel, stockLevels, stockPath, type StockBody } from "./schemas.ts";
import { parseBody, parseParameters } from "./validate.ts";

/** `/stock`: what is on hand. */
export function stockRoutes(database: Database): Router {
  const router = Router();

  router
    .route("/stock")
    .post(async (request, response) => {
      const { items } = parseBody(stockLevels, request);
      response.json({ items: (await setStock(database, items)).map(body) });
    })
    .all(methodNotAllowed("POST"));

  router
    .route("/stock/:sku")
    .get(async (request, response) => {
      const { sku } = parseParameters(stockPath, request.params);
      const [level] = await findStock(database, [sku]);
      if (level === undefined) throw new Problem(404, "not-found", { detail: `there is no SKU ${sku}` });
      response.json(body(level));
    })
    .put(async (request, response) => {
      const { sku } = parseParameters(stockPath, request.params);
      const { onHand } = parseBody(stockLevel, request);
      const [level] = await setStock(database, [{ sku, onHand }]);
      response.json(level && body(level));
    })
    .all(methodNotAllowed("GET", "PUT"));

  return router;
}

function body({ sku, onHand, reserved }: StockLevel): StockBody {
  return { sku, onHand, reserved, available: onHand - reserved };
}
