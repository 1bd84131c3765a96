import type { LoggedEvent } from "../../../db/event-log.ts";
import type { WebhookDelivery } from "../../../db/webhook-deliveries.ts";
import { toMessage } from "../message.ts";

/** The message to an endpoint; identical in every attempt. */
export interface WebhookMessage {
  /** The event's id; messages with the same id are duplicates. */
  readonly id: string;
  readonly body: string;
}

/** The message of a delivery; undefined if its event is no longer in the log. */
export function webhookMessage(
  delivery: Pick<WebhookDelivery, "id" | "eventId" | "createdAt">,
  events: ReadonlyMap<number, LoggedEvent>,
): WebhookMessage | undefined {
  if (delivery.eventId === null) return testMessage(delivery);
  const event = events.get(delivery.eventId);
  return event && { id: String(event.id), body: JSON.stringify(toMessage(event)) };
}

/** A test message: a CloudEvent with its own type and no data. */
function testMessage({
  id: deliveryId,
  createdAt,
}: Pick<WebhookDelivery, "id" | "createdAt">): WebhookMessage {
  const id = `test-${deliveryId}`;
  const message = {
    specversion: "1.0",
    id,
    source: "/conveyor/webhooks",
    type: "conveyor.webhook.test.v1",
    time: createdAt.toISOString(),
    datacontenttype: "application/json",
    data: {},
  };
  return { id, body: JSON.stringify(message) };
}
