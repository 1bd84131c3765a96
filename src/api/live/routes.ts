import { Router, type Request, type Response } from "express";
import { validate as isUuid } from "uuid";
import { z } from "zod";
import type { Database } from "../../../db/database.ts";
import { orderExists } from "../../../db/order-events.ts";
import { methodNotAllowed, Problem } from "../problem.ts";
import { eventId } from "../schemas.ts";
import { parseParameters } from "../validate.ts";
import type { Hub } from "../../events/live/hub.ts";
import { EVENT_STREAM, Listener } from "../../events/live/listener.ts";

/** Clients of one process: each costs some tens of kilobytes. */
const MOST_LISTENERS = 10_000;
/** Seconds after which a client that was refused may try again. */
const RETRY_AFTER_S = 5;

/** What streams there are. */
export const LIVE_PATHS = ["/events/stream", "/orders/:id/stream"];

/** Server-sent events: what happens to all orders, or to one, as it happens. */
export function liveRoutes(database: Database, hub: Hub): Router {
  const router = Router();

  router
    .route("/events/stream")
    .get(async (request, response) => {
      await listen(hub, request, response, undefined);
    })
    .all(methodNotAllowed("GET"));

  router
    .route("/orders/:id/stream")
    .get(async (request, response) => {
      const id = request.params.id.toLowerCase();
      if (!isUuid(id) || !(await orderExists(database, id)))
        throw new Problem(404, "not-found", { detail: `there is no order ${request.params.id}` });
      await listen(hub, request, response, id);
    })
    .all(methodNotAllowed("GET"));

  return router;
}

async function listen(
  hub: Hub,
  request: Request,
  response: Response,
  orderId: string | undefined,
): Promise<void> {
  if (hub.isClosed || hub.size >= MOST_LISTENERS)
    throw new Problem(503, "unavailable", { headers: { "Retry-After": String(RETRY_AFTER_S) } });
  const seen = lastEventId(request);
  const now = await hub.begin();
  if (request.method === "HEAD") {
    response.setHeader("Content-Type", EVENT_STREAM).end();
    return;
  }
  if (response.destroyed) return;
  await hub.join(new Listener(response, orderId, seen ?? now));
}

/** Browsers send none at first. @throws {Problem} 400 for one that no event has. */
function lastEventId(request: Request): number | undefined {
  const sent = request.get("last-event-id");
  if (sent === undefined || sent === "") return undefined;
  return parseParameters(z.object({ "Last-Event-ID": eventId }), { "Last-Event-ID": sent })["Last-Event-ID"];
}
