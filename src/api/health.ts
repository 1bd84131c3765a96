import { Router } from "express";
import type { Health } from "./readiness.ts";
import { methodNotAllowed } from "./problem.ts";

/** `/health`, open to everybody: whether the process lives, and whether it can do its work. */
export function healthRoutes(health: Health): Router {
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
      const found = await health.check();
      response.status(found.ready ? 200 : 503).json(found);
    })
    .all(methodNotAllowed("GET"));
  return router;
}
