import type { Request, Response } from "express";
import { z } from "zod";
import { orderExists } from "../../db/order-events.ts";
import type { Hub } from "../events/live/hub.ts";
import { EVENT_STREAM, Listener } from "../events/live/listener.ts";
import { toMessage } from "../events/message.ts";
import { Problem } from "./problem.ts";
import { noSuch, route, type Route } from "./route.ts";
import { eventId, eventPage, eventQuery, idPath, streamQuery } from "./schemas.ts";

/** Streaming clients per process; each costs tens of kilobytes. */
const MOST_LISTENERS = 10_000;
/** `Retry-After` for a refused client, in seconds. */
const RETRY_AFTER_S = 5;

const LIVE =
  "Server-sent events, each with the event's id and a CloudEvent as `data`. After an interruption, `Last-Event-ID` " +
  "resumes the stream without gaps or duplicates, however long ago it was. Without it, the stream starts now.";

/** Browsers first send an empty one. */
const listenerHeaders = z.object({
  "Last-Event-ID": z
    .preprocess((value) => (value === "" ? undefined : value), eventId.optional())
    .meta({ description: "ID of the last event received" }),
});

/** For programs, and for pages, which cannot send a key in a header. */
const STREAM = {
  method: "GET",
  scope: "operator",
  tag: "Events",
  answers: { 200: { description: "The events, until the client disconnects", type: "text/event-stream" } },
} as const;

/** `/events`: the event log, as pages and as streams. */
export const eventRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "/events",
    scope: "key",
    tag: "Events",
    summary: "List the events of all orders, from any point on",
    description:
      "In the order of the log, which never changes: a reader that continues after `next` misses no event and sees " +
      "none twice. The newest events may be held back for some seconds, until no other event can precede them. Each " +
      "event is a CloudEvent, the same as in the Redis Stream and in live updates.",
    request: { query: eventQuery },
    answers: { 200: { description: "One page", schema: eventPage } },
    handler: async ({ query, response }, { events: log }) => {
      const { events, next, more } = await log.page(query);
      response.json({ items: events.map(toMessage), next, more });
    },
  }),
  route({
    ...STREAM,
    path: "/events/stream",
    summary: "Stream the events of all orders, or of some",
    description: `${LIVE} Streams are cheap for the service.`,
    request: { query: streamQuery, headers: listenerHeaders },
    handler: async ({ query, headers, request, response }, { live }) => {
      const orders = query.orders?.toLowerCase().split(",");
      await listen(live, request, response, { after: headers["Last-Event-ID"], orders });
    },
  }),
  route({
    ...STREAM,
    path: "/orders/:id/stream",
    names: "order",
    summary: "Stream the events of an order",
    description: LIVE,
    request: { params: idPath, headers: listenerHeaders },
    handler: async ({ params, headers, request, response }, { database, live }) => {
      if (!(await orderExists(database, params.id))) throw noSuch("order", params.id);
      await listen(live, request, response, { after: headers["Last-Event-ID"], orders: [params.id] });
    },
  }),
];

/** @param what `orders`: undefined for all orders. `after`: undefined for events from now on. */
async function listen(
  hub: Hub,
  request: Request,
  response: Response,
  what: { readonly after: number | undefined; readonly orders: readonly string[] | undefined },
): Promise<void> {
  if (hub.isClosed || hub.size >= MOST_LISTENERS)
    throw new Problem(503, "unavailable", { headers: { "Retry-After": String(RETRY_AFTER_S) } });
  const now = await hub.begin();
  if (request.method === "HEAD") {
    response.setHeader("Content-Type", EVENT_STREAM).end();
    return;
  }
  if (response.destroyed) return;
  await hub.join(new Listener(response, what.orders, what.after ?? now));
}
