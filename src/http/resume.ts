import { Router } from "express";
import type { Database } from "../../db/database.ts";
import { resumeFailed } from "../../db/orders.ts";
import { methodNotAllowed } from "./problem.ts";
import { resumeRequest } from "./schemas.ts";
import { parseBody } from "./validate.ts";

/** Orders of one statement: it must not hold their locks for long. */
const PAGE = 1_000;

/**
 * `/orders/resume`: puts failed orders back to work, with all their attempts. Here they only stop being failed; the
 * sweeper queues them page by page, at a rate that the workers can take. Who asks twice finds none the second time.
 */
export function resumeRoutes(database: Database): Router {
  const router = Router();
  router
    .route("/orders/resume")
    .post(async (request, response) => {
      const { stage, reason, before } = parseBody(resumeRequest, request);
      const filter = { stage, reason, before: before === undefined ? undefined : new Date(before) };
      let resumed = 0;
      let page: number;
      do {
        page = await resumeFailed(database, filter, PAGE);
        resumed += page;
      } while (page === PAGE);
      response.status(202).json({ resumed });
    })
    .all(methodNotAllowed("POST"));
  return router;
}
