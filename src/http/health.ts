import { Router } from "express";
import type { Redis } from "ioredis";
import type { Database } from "../../db/database.ts";
import { checkHealth } from "../health.ts";
import { methodNotAllowed } from "./problem.ts";

/** `/health`, open to everybody: whether the process lives, and whether it can do its work. */
export function healthRoutes(parts: { readonly database: Database; readonly redis: Redis }): Router {
  const router = Router();
  router
    .route("/health/live")
    .get((_request, response) => {
      response.json({ live: true });
    })
    .all(methodNotAllowed("GET"));
  router
    .route("/health/ready")
    .get(async (_request, response) => {
      const health = await checkHealth(parts);
      response.status(health.ready ? 200 : 503).json(health);
    })
    .all(methodNotAllowed("GET"));
  return router;
}
