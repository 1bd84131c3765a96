import { Router } from "express";
import type { EventLog } from "../../db/event-log.ts";
import { toMessage } from "../events/message.ts";
import { methodNotAllowed } from "./problem.ts";
import { eventQuery } from "./schemas.ts";
import { parseParameters } from "./validate.ts";

/** `/events`: the log of what happened to all orders, for whoever reads it page by page. */
export function eventRoutes(log: EventLog): Router {
  const router = Router();
  router
    .route("/events")
    .get(async (request, response) => {
      const { events, next, more } = await log.page(parseParameters(eventQuery, request.query));
      response.json({ items: events.map(toMessage), next, more });
    })
    .all(methodNotAllowed("GET"));
  return router;
}
