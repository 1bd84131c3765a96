import type { Database } from "../../db/database.ts";
import { findOrders } from "../../db/orders.ts";
import { findDelivery } from "../../db/webhook-deliveries.ts";
import { findEvents } from "../../db/event-log.ts";
import { findEndpoint, type WebhookEndpoint } from "../../db/webhook-endpoints.ts";
import { webhookMessage } from "../events/webhooks/message.ts";
import type { StoredOrder } from "../order/order.ts";
import { noSuch } from "./route.ts";

/* What a path names, for the API and the console. Each throws a 404 if there is none, and a `DatabaseError`. */

export async function orderOf(database: Database, id: string): Promise<StoredOrder> {
  const [order] = await findOrders(database, [id]);
  if (order === undefined) throw noSuch("order", id);
  return order;
}

export async function endpointOf(database: Database, id: string): Promise<WebhookEndpoint> {
  const endpoint = await findEndpoint(database, id);
  if (endpoint === undefined) throw noSuch("webhook endpoint", id);
  return endpoint;
}

/** A delivery with its attempts and its message, which is undefined if the event is no longer in the log. */
export async function deliveryOf(database: Database, id: number) {
  const found = await findDelivery(database, id);
  if (found === undefined) throw noSuch("delivery", id);
  const { eventId } = found.delivery;
  const events = await findEvents(database, eventId === null ? [] : [eventId]);
  return { ...found, message: webhookMessage(found.delivery, events) };
}
